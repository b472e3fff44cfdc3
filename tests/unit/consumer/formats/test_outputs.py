"""Reading answers in every encoding: what was written comes back, whatever surrounds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.formats import open_inference, open_inference_json, tensorflow_json
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.examples import Examples
from headrace.consumer.formats.examples_json import ExamplesJson
from headrace.consumer.formats.methods import Classify, Regress
from headrace.consumer.formats.open_inference import OpenInference
from headrace.consumer.formats.open_inference_json import OpenInferenceJson
from headrace.consumer.formats.outputs import UNNAMED, outputs
from headrace.consumer.formats.tensorflow_json import TensorFlowJson
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.platforms.platform import Array
from tests.unit.consumer.formats.payloads import STRINGS, dtypes, filled, shapes

Write = Callable[[Mapping[str, Array]], bytes]


class Writer:
    """A format that writes answers."""

    def __init__(self, codec: Any, style: Hashable = None) -> None:  # noqa: ANN401 - any of them
        self._codec = codec
        self._style = style

    def __call__(self, arrays: Mapping[str, Array]) -> bytes:
        """Return an answer with these outputs."""
        written: bytes = self._codec.write("serving_default", arrays, self._style)
        return written


EXACT: Sequence[tuple[Encoding, Write]] = [
    (Encoding.AVRO, Writer(Avro("m", 7))),
    (Encoding.TENSORFLOW_SERVING, Writer(TensorFlowServing("m", 7))),
    (
        Encoding.OPEN_INFERENCE,
        Writer(OpenInference("m", 7), open_inference.Style("id", is_raw=True)),
    ),
    (
        Encoding.OPEN_INFERENCE,
        Writer(OpenInference("m", 7), open_inference.Style("", is_raw=False)),
    ),
    (
        Encoding.OPEN_INFERENCE_JSON,
        Writer(OpenInferenceJson("m", 7), open_inference_json.Style("id", True, frozenset({"a"}))),
    ),
]


def same(left: Array, right: Array) -> bool:
    """Whether two arrays are the same, byte by byte."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == STRINGS:
        return bool(left.tolist() == right.tolist())
    return left.tobytes() == right.tobytes()


@pytest.mark.parametrize(("encoding", "write"), EXACT)
@given(dtype=dtypes, shape=shapes, seed=st.integers(0, 9))
def test_tensors_come_back_as_they_were(
    encoding: Encoding, write: Write, dtype: np.dtype[Any], shape: tuple[int, ...], seed: int
) -> None:
    """Dtype, shape and values of every output, packed or typed, beside another one."""
    is_foreign = dtype.kind == "c" and "OPEN" in encoding.name
    # Typed fields are Python's floats, which do not keep every NaN; neither does JSON.
    values = filled(np.dtype(np.float32) if is_foreign else dtype, shape, seed)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    arrays = {"b": values, "ü": np.arange(3, dtype=np.int64)}
    found = outputs(encoding, write(arrays))
    assert found.keys() == arrays.keys()
    assert all(same(found[name], array) for name, array in arrays.items())


def test_bfloat16_comes_back() -> None:
    """Numbers that numpy itself has not."""
    values = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    for encoding, write in EXACT[1:4]:
        assert same(outputs(encoding, write({"y": values}))["y"], values)


JSON_STYLES = [tensorflow_json.Style(True), tensorflow_json.Style(False)]


@pytest.mark.parametrize("style", JSON_STYLES)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([[1.5], [float("nan")]], np.float32), np.float64),
        (np.array([1, -(2**62)], np.int64), np.int64),
        (np.array([2**64 - 1, 0], np.uint64), np.uint64),
        (np.array([True, False]), np.bool_),
        (np.array([b"ab", b"\xff"], object), object),
        (np.zeros((0, 2), np.float32), np.float64),
    ],
)
def test_rest_rows_and_columns_come_back(
    style: tensorflow_json.Style, values: Array, dtype: type
) -> None:
    """One output is without its name, several are by name; kinds are those that JSON has."""
    write = Writer(TensorFlowJson({}), style)
    alone = outputs(Encoding.TENSORFLOW_JSON, write({"y": values}))
    assert list(alone) == [UNNAMED]
    both = outputs(Encoding.TENSORFLOW_JSON, write({"y": values, "z": values}))
    found = [alone[UNNAMED], *both.values()]
    if len(values):
        assert both.keys() == {"y", "z"}
    for array in found if len(values) else found[:1]:
        assert array.dtype == dtype
        if array.dtype.kind == "f":
            np.testing.assert_array_equal(array.ravel(), values.ravel())
        else:
            assert array.tolist() == values.tolist()


@pytest.mark.parametrize("value", [np.array(2.5, np.float32), np.array(b"\xff", object)])
def test_a_scalar_of_rest_comes_back(value: Array) -> None:
    """Also one that is bytes, which JSON shows as an object."""
    write = Writer(TensorFlowJson({}), tensorflow_json.Style(False))
    found = outputs(Encoding.TENSORFLOW_JSON, write({"y": value}))[UNNAMED]
    assert (found.shape, found.tolist()) == ((), value.tolist())


LABELS = np.array([[b"cat", b"dog"], [b"cat", b"dog"]], object)
SCORES = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        (Encoding.CLASSIFICATION, Examples(Classify(), "m", 7, {})),
        (Encoding.CLASSIFICATION_JSON, ExamplesJson(Classify(), {})),
    ],
)
def test_a_classification_is_classes_and_scores(encoding: Encoding, codec: object) -> None:
    """Two outputs, one row for each example."""
    found = outputs(encoding, Writer(codec, 2)({"classes": LABELS, "scores": SCORES}))
    assert found.keys() == {"classes", "scores"}
    assert found["classes"].tolist() == LABELS.tolist()
    np.testing.assert_array_equal(found["scores"], SCORES)


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        (Encoding.REGRESSION, Examples(Regress(), "m", 7, {})),
        (Encoding.REGRESSION_JSON, ExamplesJson(Regress(), {})),
    ],
)
def test_a_regression_is_one_output(encoding: Encoding, codec: object) -> None:
    """One number for each example."""
    values = np.array([1.5, -2.0], np.float32)
    found = outputs(encoding, Writer(codec, 2)({"outputs": values}))
    assert list(found) == ["outputs"]
    np.testing.assert_array_equal(found["outputs"], values)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"{", b'{"results": [1, [2]]}', b'{"results": 3}', b'{"outputs": [[1], 2]}'],
)
def test_what_is_no_answer_is_refused(encoding: Encoding, payload: bytes) -> None:
    """A ValueError, or no outputs of another kind than JSON has; nothing else is raised."""
    try:
        found = outputs(encoding, payload)
    except ValueError:
        return
    assert encoding.name.endswith("JSON")
    assert json.loads(payload)
    assert all(isinstance(array, np.ndarray) for array in found.values())
