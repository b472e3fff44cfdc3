"""Examples as requests, and answers held against what they expect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from headrace.consumer.formats.tensor_proto import from_tensor_proto
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.platforms.signature import (
    DTYPES,
    Signature,
    TensorSpec,
    encode_signatures,
)
from headrace.consumer.validation.expecting import Expectations
from headrace.protos.tensorflow_serving_pb2 import PredictRequest
from headrace.schemas.records import Tolerance
from headrace.schemas.trial import Example, Json

INT64 = np.dtype(np.int64)
FLOAT32 = np.dtype(np.float32)
STRING = np.dtype(object)


def expectations(
    dtype: np.dtype[Any], tolerances: Mapping[str, Tolerance] | None = None
) -> Expectations:
    """Return what holds the examples of a model x → y of this dtype."""
    x, y = (TensorSpec(alias, dtype, None) for alias in "xy")
    signature = Signature("serving_default", {"x": x}, {"y": y})
    return Expectations(encode_signatures({signature.name: signature}), tolerances or {})


def faults(
    given: npt.NDArray[Any],
    expected: Json = None,
    tolerance: Tolerance | None = None,
    *,
    alias: str = "y",
) -> list[str]:
    """Return what is wrong with an answer; no expectation means any finite number."""
    outputs = None if expected is None else {alias: expected}
    tolerances = {} if tolerance is None else {"": tolerance}
    payload = TensorFlowServing("m", 1).write("serving_default", {"y": given}, None)
    example = Example(line=1, inputs={}, outputs=outputs)
    return expectations(given.dtype, tolerances).faults(example, payload)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind not in "cO"], ids=str)
def test_a_tensor_of_any_dtype_is_sent_as_the_signature_says(dtype: np.dtype[Any]) -> None:
    """JSON does not tell one number from another."""
    value: Json = [[True], [False]] if dtype.kind == "b" else [[1], [0]]
    payload = expectations(dtype).request(Example(line=1, inputs={"x": value}))
    sent = from_tensor_proto(PredictRequest.FromString(payload).inputs["x"])
    assert (sent.dtype, sent.shape) == (dtype, (2, 1))
    assert sent.astype(bool).ravel().tolist() == [True, False]


def test_strings_are_sent_as_bytes() -> None:
    """Text, and what is no text."""
    example = Example(line=1, inputs={"x": ["ü", {"b64": "/w=="}]})
    payload = expectations(STRING).request(example)
    sent = from_tensor_proto(PredictRequest.FromString(payload).inputs["x"])
    assert sent.tolist() == ["ü".encode(), b"\xff"]


@pytest.mark.parametrize("value", ["text", [[1], [1, 2]], [None], [1.5], 2**70])
def test_an_input_that_is_no_tensor_of_the_dtype_is_named(value: Json) -> None:
    """The signature wants int64."""
    with pytest.raises(ValueError, match=r"^input 'x': "):
        expectations(INT64).request(Example(line=1, inputs={"x": value}))


def test_what_the_signature_does_not_have_is_left_to_the_worker() -> None:
    """Its words are those that callers get."""
    held = expectations(FLOAT32)
    payload = held.request(Example(line=1, inputs={"z": "anything"}, signature="other"))
    request = PredictRequest.FromString(payload)
    assert (request.model_spec.signature_name, set(request.inputs)) == ("other", {"z"})


@pytest.mark.parametrize(
    ("given", "expected", "tolerance"),
    [
        (np.array([0.1, 2.5], np.float32), [0.1, 2.5], None),
        (np.array([1.05], np.float32), [1.0], Tolerance(absolute=0.1)),
        (np.array([105.0]), [100], Tolerance(relative=0.05)),
        (np.array([106.0]), [100], Tolerance(absolute=1.0, relative=0.05)),
        (np.array([np.nan, np.inf, -np.inf]), [math.nan, math.inf, -math.inf], None),
        (np.array(3, np.int64), 3, None),
        (np.array([2**63 - 1], np.int64), [2**63 - 1], None),
        (np.array([9], np.uint8), [10], Tolerance(absolute=1.0)),
        (np.array([True]), [True], None),
        (np.array([b"a", b"\xff"], object), ["a", {"b64": "/w=="}], None),
        (np.array([1.5], ml_dtypes.bfloat16), [1.5], None),
        (np.zeros((0,), np.float32), [], None),
    ],
)
def test_an_answer_within_the_tolerance_is_right(
    given: npt.NDArray[Any], expected: Json, tolerance: Tolerance | None
) -> None:
    """Without a tolerance, the same numbers; NaN where NaN is expected."""
    assert faults(given, expected, tolerance) == []


@pytest.mark.parametrize(
    ("given", "expected", "tolerance", "words"),
    [
        (
            np.array([[2.5, 2.75]], np.float32),
            [[2.5, 2.5]],
            Tolerance(absolute=0.125),
            "output 'y' at [0, 1]: expected 2.5, got 2.75, off by 0.25 where 0.125 is allowed",
        ),
        (
            np.array([1.0, 2.0, 9.0]),
            [2.0, 2.0, 4.0],
            None,
            "y', 2 of 3 elements, the worst at [2]: expected 4.0, got 9.0, off by 5 where 0 is",
        ),
        (np.array(106.0), 100, Tolerance(relative=0.05), "off by 6 where 5 is allowed"),
        (np.array([np.nan]), [1.0], Tolerance(absolute=9e9), "got nan, off by inf"),
        (np.array([1.0]), [math.nan], Tolerance(absolute=9e9), "expected nan, got 1.0"),
        (np.array([1.0]), [math.inf], Tolerance(relative=0.5), "expected inf, got 1.0"),
        (np.array([-np.inf]), [math.inf], Tolerance(relative=0.5), "expected inf, got -inf"),
        (np.array([2**63 - 1], np.int64), [2**63 - 2], None, "off by 1 where 0 is allowed"),
        (np.array([0], np.uint8), [255], Tolerance(absolute=254), "off by 255 where 254"),
        (np.array([True, False]), [True, True], None, "at [1]: expected True, got False"),
        (np.array([b"a"], object), ["b"], Tolerance(absolute=1), "expected b'b', got b'a'"),
        (np.array([1.0]), [[1.0]], None, "output 'y' has shape [1], expected [1, 1]"),
        (np.array([1.0]), 1.0, None, "output 'y' has shape [1], expected []"),
        (np.array([1.0]), ["a"], None, "expected output 'y': expects float64"),
        (np.array([1], np.int64), [1.5], None, "expected output 'y': expects int64"),
        (np.array([1j]), [1], None, "expected output 'y': JSON has no values of complex128"),
    ],
)
def test_an_answer_that_is_off_is_told_where_and_how_far(
    given: npt.NDArray[Any], expected: Json, tolerance: Tolerance | None, words: str
) -> None:
    """The worst element, both numbers, and what was allowed."""
    (found,) = faults(given, expected, tolerance)
    assert words in found


def test_an_output_that_there_is_not_is_named() -> None:
    """With those that there are."""
    assert faults(np.array([1.0]), [1.0], alias="z") == [
        "the signature has no output 'z'; it has y"
    ]


@pytest.mark.parametrize(
    "given",
    [
        np.array([1.0, -1e300]),
        np.array([], np.float32),
        np.array([1j]),
        np.array([7]),
        np.array([True]),
        np.array([b"a"], object),
    ],
)
def test_finite_numbers_are_enough_where_nothing_is_expected(given: npt.NDArray[Any]) -> None:
    """And everything that is no number."""
    assert faults(given) == []


@pytest.mark.parametrize(
    "given",
    [
        np.array([[1.0, np.nan]]),
        np.array([[1.0, np.inf]], np.float32),
        np.array([[1.0, np.inf]], ml_dtypes.bfloat16),
        np.array([[1.0, complex(0, np.nan)]]),
    ],
)
def test_what_is_no_finite_number_is_a_fault_where_nothing_is_expected(
    given: npt.NDArray[Any],
) -> None:
    """A model that diverged answers everything with NaN."""
    (found,) = faults(given)
    assert "1 of 2 elements that are no finite number" in found
    assert found.endswith("at [0, 1]")


def test_an_output_has_its_own_tolerance_or_that_of_all_others() -> None:
    """Its own one counts alone."""
    own = {"": Tolerance(absolute=9), "y": Tolerance(absolute=0.1)}
    payload = TensorFlowServing("m", 1).write("serving_default", {"y": np.array([1.0])}, None)
    example = Example(line=1, inputs={}, outputs={"y": [2.0]})
    dtype = np.dtype(np.float64)
    assert len(expectations(dtype, own).faults(example, payload)) == 1
    del own["y"]
    assert expectations(dtype, own).faults(example, payload) == []


def test_a_tolerance_for_no_output_is_a_mistake() -> None:
    """A name that is mistyped would be ignored otherwise."""
    held = expectations(FLOAT32, {"": Tolerance(), "y": Tolerance(), "z": Tolerance()})
    assert held.strange_tolerances() == [
        "there is a tolerance for output 'z', and no signature has it; there are: y"
    ]
