"""JSON values become tensors and tensors become JSON, without a silent change."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.cli.predict.json_tensors import line, read_inputs, to_array, to_json
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.inference import Inference

FLOAT32 = np.dtype(np.float32)
STRING = np.dtype(object)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.0, 2.5], "float32"),
        ([1, 2], "int64"),
        ([1, 2.5], "float32"),
        ([True, False], "bool"),
        (3, "int64"),
        ([], "float32"),
        (["a", "b"], "object"),
        ([2**63], "uint64"),
    ],
)
def test_infers_the_dtype_of_an_input_that_nobody_declares(value: object, dtype: str) -> None:
    """Without a signature, points make float32, whole numbers int64, text strings."""
    assert to_array("x", value).dtype == np.dtype(dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 2], "float32"),
        ([1.0, 2.0], "int64"),
        (["NaN", "Infinity", "-Infinity"], "float64"),
        ([255], "uint8"),
        ([], "int32"),
        ([], "object"),
    ],
)
def test_takes_values_that_the_declared_dtype_can_hold(value: object, dtype: str) -> None:
    """A declared dtype wins over what the JSON looks like."""
    assert to_array("x", value, np.dtype(dtype)).dtype == np.dtype(dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        ([1.5], "int64", "takes int64: values like 1.5"),
        ([256], "uint8", "takes uint8: values like 256"),
        ([-1], "uint8", "takes uint8: values like -1"),
        ([1, 0], "bool", "takes bool"),
        ([True], "float32", "takes float32"),
        (["one"], "float32", "takes float32: text"),
        ([1.0], "object", "takes text, not numbers"),
        ([[1, 2], [3]], "float32", "different lengths"),
        ([["a", "b"], ["c"]], "object", "different lengths"),
        ([None], "float32", "holds a JSON null"),
        ([{"a": 1}], "float32", "holds a JSON object"),
        (["\ud800"], "object", "UTF-8 cannot carry"),
        ([{"b64": "?"}], "object", "bad base64"),
    ],
)
def test_refuses_values_that_the_declared_dtype_would_change(
    value: object, dtype: str, words: str
) -> None:
    """A number that would be rounded, wrapped or guessed is refused by name."""
    with pytest.raises(InvalidArgument, match="input 'x'") as refusal:
        to_array("x", value, np.dtype(dtype))  # type: ignore[arg-type]
    assert words in str(refusal.value)


def test_carries_bytes_that_are_no_text_as_base64_both_ways() -> None:
    """TensorFlow Serving's `{"b64": …}` comes in and goes out."""
    array = to_array("x", [{"b64": "/wA="}, "é"], STRING)
    assert array.tolist() == [b"\xff\x00", "é".encode()]
    assert to_json(array) == [{"b64": "/wA="}, "é"]


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0)))
def test_floats_survive_the_way_out_and_back(array: np.ndarray) -> None:
    """NaN, infinities and every shape are the same after JSON."""
    text = json.dumps(to_json(array), allow_nan=False)
    np.testing.assert_array_equal(to_array("x", json.loads(text), FLOAT32), array)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_any_json_is_a_tensor_or_refused_in_words(value: object) -> None:
    """No JSON value, however odd, ends in anything but an array or our own error."""
    for dtype in (None, FLOAT32, np.dtype(np.int8), STRING):
        try:
            to_array("x", value, dtype)  # type: ignore[arg-type]
        except InvalidArgument as refusal:
            words = str(refusal)
        else:
            words = "input 'x' is fine"
        assert words.startswith("input 'x' ")


def test_prints_floats_as_short_as_they_are() -> None:
    """A float32 is printed with the digits that tell it from its neighbours, and no more."""
    assert to_json(np.array([0.1, 1e-7, 3.0], np.float32)) == [0.1, 1e-7, 3.0]
    assert to_json(np.array(0.1, np.float64)) == 0.1


def test_prints_one_line_of_strict_json() -> None:
    """NaN is a string in the answer, so that any JSON reader takes it."""
    outputs = {"y": np.array([1.0, np.nan], np.float32)}
    origin = {"routed-by": "split", "arm": "canary", "plan-offset": "17"}
    printed = line(Inference(outputs, "m", 3, "serving_default", origin))
    assert json.loads(printed) == {
        "outputs": {"y": [1.0, "NaN"]},
        "model": "m",
        "version": 3,
        "routed_by": "split",
        "arm": "canary",
        "plan_offset": 17,
    }
    assert "\n" not in printed


def test_reads_inputs_from_argument_file_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON itself, @FILE and - are the same inputs."""
    text = '{"x": [1, 2]}'
    (tmp_path / "in.json").write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    expected = {"x": [1, 2]}
    assert read_inputs(text) == expected
    assert read_inputs(f"@{tmp_path / 'in.json'}") == expected
    assert read_inputs("-") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{x: 1}", "--inputs is not JSON"),
        ("[1, 2]", "--inputs is a JSON list"),
        ("7", "--inputs is a JSON number"),
        ("@/nowhere/in.json", "cannot read the inputs from '@/nowhere/in.json'"),
        ("[" * 100_000, "--inputs is not JSON"),
    ],
)
def test_says_what_is_wrong_with_inputs(text: str, words: str) -> None:
    """What is no JSON object of inputs is refused with an example of one."""
    with pytest.raises(InvalidArgument) as refusal:
        read_inputs(text)
    assert words in str(refusal.value)
