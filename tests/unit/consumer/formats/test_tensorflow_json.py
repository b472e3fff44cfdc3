"""TensorFlow Serving's JSON: rows and columns, bytes, and what is no tensor."""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.formats.tensorflow_json import Style, TensorFlowJson
from headrace.consumer.platforms.platform import Array
from tests.unit.consumer.formats.arithmetic import signature

Body: TypeAlias = Any
ROWS, COLUMNS = Style(is_rows=True), Style(is_rows=False)

_ANY = (None,)
FORMAT = TensorFlowJson(
    {
        each.name: each
        for each in (
            signature("serving_default", {"x": (np.float32, _ANY)}, {"y": (np.float32, _ANY)}),
            signature("two", {"a": (np.float32, _ANY), "b": (np.int64, _ANY)}, {}),
            signature("none", {}, {}),
            signature("text", {"x": (object, _ANY)}, {}),
            signature("bool", {"x": (np.bool_, _ANY)}, {}),
            signature("int8", {"x": (np.int8, _ANY)}, {}),
            signature("int64", {"x": (np.int64, _ANY)}, {}),
            signature("uint64", {"x": (np.uint64, _ANY)}, {}),
            signature("double", {"x": (np.float64, _ANY)}, {}),
            signature("bfloat16", {"x": (ml_dtypes.bfloat16, _ANY)}, {}),
            signature("complex", {"x": (np.complex64, _ANY)}, {}),
        )
    }
)


def read(body: bytes | Body) -> tuple[InferRequest, Style]:
    """Return what a body says; it must be valid."""
    found = FORMAT.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert not isinstance(found, InvalidRequest), found
    assert isinstance(found.style, Style)
    return found, found.style


def only(name: str, value: Body) -> Array:
    """Return the one input of a request in columns."""
    return read({"signature_name": name, "inputs": value})[0].inputs["x"]


def written(outputs: dict[str, Array], style: Style) -> Body:
    """Return the answer's body, parsed."""
    return json.loads(FORMAT.write("serving_default", outputs, style))


def test_rows_of_a_single_input_need_no_names() -> None:
    """Each instance is a row of the only input."""
    request, style = read({"instances": [[1, 2], [3, 4.5]]})
    assert style == ROWS
    assert request.signature == "serving_default"
    assert request.inputs["x"].dtype == np.float32
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4.5]]


def test_named_rows_become_columns() -> None:
    """Each instance is an object with every input."""
    body = {"signature_name": "two", "instances": [{"a": [1], "b": 2}, {"b": 3, "a": [4]}]}
    request, style = read(body)
    assert style == ROWS
    assert request.signature == "two"
    assert request.inputs["a"].tolist() == [[1], [4]]
    assert request.inputs["b"].tolist() == [2, 3]
    assert request.inputs["b"].dtype == np.int64


def test_columns_may_differ_in_their_first_dimension() -> None:
    """Each input is a tensor of its own; keys of no input are ignored, as in TensorFlow Serving."""
    body = {"signature_name": "two", "inputs": {"a": 1.5, "b": [1, 2], "z": "?"}}
    request, style = read(body)
    assert style == COLUMNS
    assert request.inputs.keys() == {"a", "b"}
    assert request.inputs["a"].shape == ()


def test_missing_inputs_are_left_to_the_signature() -> None:
    """Which inputs have defaults is checked where all formats are."""
    assert read({"signature_name": "two", "inputs": {"a": [1]}})[0].inputs.keys() == {"a"}


def test_whole_column_without_a_name() -> None:
    """With one input, `inputs` is that input."""
    assert only("serving_default", [[1], [2]]).tolist() == [[1], [2]]


def test_bytes_are_objects() -> None:
    """Text is UTF-8; `b64` brings any bytes, as an instance, too."""
    assert only("text", ["ä", {"b64": "/w=="}]).tolist() == ["ä".encode(), b"\xff"]
    assert only("text", {"b64": "/w=="}).tolist() == b"\xff"
    rows = read({"signature_name": "text", "instances": [{"b64": "/w=="}, "a"]})[0]
    assert rows.inputs["x"].tolist() == [b"\xff", b"a"]
    assert only("text", [["a", "b"], ["c", "d"]]).shape == (2, 2)
    assert only("text", [[], []]).shape == (2, 0)


def test_numbers_that_json_has_not() -> None:
    """NaN and Infinity are read and written as bare words; past the largest float is infinite."""
    found = read(b'{"inputs": [NaN, Infinity, -Infinity, 1e999, 1e39]}')[0].inputs["x"]
    assert str(found.tolist()) == "[nan, inf, -inf, inf, inf]"
    answer = FORMAT.write("", {"y": found}, COLUMNS)
    assert answer == b'{"outputs": [NaN, Infinity, -Infinity, Infinity, Infinity]}'


EXACT: list[tuple[str, list[Any]]] = [
    ("int8", [-128, 127]),
    ("int64", [-(2**63), 2**63 - 1]),
    ("uint64", [0, 2**64 - 1]),
    ("uint64", [2**64 - 1]),
    ("double", [0.1, 1e300, 5]),
    ("double", [2**64, 2**70]),
    ("bool", [True, False]),
    ("bfloat16", [1.5, -2.0]),
    ("serving_default", []),
    ("int8", []),
    ("bool", [[]]),
]


@pytest.mark.parametrize(("name", "values"), EXACT)
def test_values_arrive_as_they_were_written(name: str, values: list[Any]) -> None:
    """To the limits of each dtype."""
    assert only(name, values).tolist() == values


BAD_VALUES: list[tuple[str, Any, str]] = [
    ("int8", [128], "out of the range of int8"),
    ("int64", [2**63], "out of the range of int64"),
    ("int64", [2**64], "out of the range of int64"),
    ("uint64", [-1], "out of the range of uint64"),
    ("uint64", [2**64], "out of the range of uint64"),
    ("double", [10**399], "out of the range of float64"),
    ("int64", [1.0], "expects int64, and has numbers"),
    ("int64", [True], "expects int64, and has true or false"),
    ("bool", [1], "expects bool, and has whole numbers"),
    ("serving_default", [True], "expects float32, and has true or false"),
    ("serving_default", ["1"], "expects float32, and has something else"),
    ("serving_default", [None], "expects float32, and has something else"),
    ("serving_default", [{"b64": "AA=="}], "expects float32, and has something else"),
    ("serving_default", [[1], [1, 2]], "different lengths"),
    ("serving_default", [1, [2]], "different lengths"),
    ("text", [1], "expects strings"),
    ("text", [None], "expects strings"),
    ("text", ["a", ["b"]], "different lengths"),
    ("text", [["a"], []], "different lengths"),
    ("text", [{"b64": "?"}], "not base64"),
    ("text", [{"b64": 1}], "expects strings"),
    ("complex", [1], "JSON has no values of complex64"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD_VALUES)
def test_value_of_another_type_is_refused(name: str, value: Body, words: str) -> None:
    """The input is named, and what it takes."""
    body = json.dumps({"signature_name": name, "inputs": value}).encode()
    found = FORMAT.read(body)
    assert isinstance(found, InvalidRequest)
    assert not isinstance(found, UnreadableRequest)
    assert str(found).startswith("input 'x': ")
    assert words in str(found)


@pytest.mark.parametrize("name", ["signature_name", "instances", "x\udfff", "elsewhere"])
def test_half_a_character_is_refused_wherever_it_is(name: str) -> None:
    """No answer could repeat such text: to write it would end the worker."""
    found = FORMAT.read(json.dumps({"inputs": [1], name: [{"\ud800": 1}, "\udfff"]}).encode())
    assert isinstance(found, InvalidRequest)
    assert str(found) == "the request's JSON holds text that UTF-8 cannot carry"


def test_a_name_that_is_not_utf8_is_no_json() -> None:
    """The parser answers long names that are not UTF-8 with an error of another kind."""
    found = FORMAT.read(b'{"' + b"\xff" * 60 + b'": 1}')
    assert isinstance(found, UnreadableRequest)
    assert str(found).startswith("not JSON: ")


BAD_BODIES: list[tuple[Any, str]] = [
    ({}, "either 'instances'"),
    ({"instances": [1], "inputs": 1}, "either 'instances'"),
    ({"instances": []}, "one element at least"),
    ({"instances": 1}, "one element at least"),
    ({"signature_name": 1, "inputs": 1}, "must be a string"),
    ({"signature_name": "x", "inputs": 1}, 'Serving signature name: "x" not found'),
    ({"signature_name": "two", "instances": [1]}, "has 2 inputs, so each value needs its name"),
    ({"signature_name": "two", "inputs": [1]}, "has 2 inputs, so each value needs its name"),
    ({"signature_name": "none", "inputs": [1]}, "needs its name: none"),
    ({"signature_name": "two", "instances": [{"a": 1}, {"b": 1}]}, "instance 1 differs"),
    ({"signature_name": "two", "instances": [{"a": 1}, 5]}, "instance 1 differs"),
    ({"signature_name": "two", "instances": [{"a": 1, "z": 1}]}, "unexpected inputs: z"),
]


@pytest.mark.parametrize(("body", "words"), BAD_BODIES)
def test_body_of_another_form_is_refused(body: Body, words: str) -> None:
    """It is JSON, so it is an invalid request and no dead letter."""
    found = FORMAT.read(json.dumps(body).encode())
    assert isinstance(found, InvalidRequest)
    assert not isinstance(found, UnreadableRequest)
    assert words in str(found)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff",
        "{}".encode("utf-16"),
        b'{"inputs": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_json_object_are_unreadable(payload: bytes) -> None:
    """They can be a dead letter."""
    assert isinstance(FORMAT.read(payload), UnreadableRequest)


def test_empty_signature_name_means_the_default() -> None:
    """As in a ModelSpec."""
    assert read({"signature_name": "", "inputs": [1]})[0].signature == "serving_default"


def test_rows_are_answered_in_rows() -> None:
    """One output: its rows; several: an object per row."""
    y = np.array([[1, 2], [3, 4]], np.float32)
    assert written({"y": y}, ROWS) == {"predictions": [[1, 2], [3, 4]]}
    both: dict[str, Array] = {"y": y, "n": np.array([5, 6])}
    assert written(both, ROWS) == {
        "predictions": [{"y": [1, 2], "n": 5}, {"y": [3, 4], "n": 6}],
    }


def test_columns_are_answered_in_columns() -> None:
    """One output: itself; several: an object of all."""
    assert written({"y": np.array(2.5, np.float32)}, COLUMNS) == {"outputs": 2.5}
    both: dict[str, Array] = {"y": np.array([1.5]), "n": np.array([[5, 6]])}
    assert written(both, COLUMNS) == {"outputs": {"y": [1.5], "n": [[5, 6]]}}


def test_outputs_without_rows_want_columns() -> None:
    """A scalar, or outputs of different lengths, have no rows; the words say what to do."""
    for outputs in (
        {"y": np.array(1.0)},
        {"y": np.zeros(2), "z": np.zeros(3)},
        {"y": np.zeros(2), "z": np.array(1.0)},
    ):
        with pytest.raises(InvalidRequest, match="ask in columns"):
            FORMAT.write("", outputs, ROWS)


def test_output_that_json_cannot_carry_is_named() -> None:
    """Complex numbers are no JSON."""
    with pytest.raises(ValueError, match="output 'y' has dtype complex64"):
        FORMAT.write("", {"y": np.zeros(1, np.complex64)}, COLUMNS)


def test_floats_are_as_short_as_they_can_be() -> None:
    """A float32 is written with the digits that tell it from its neighbours, and a point."""
    values = np.array([0.1, 1, 1e20, 16777216], np.float32)
    assert FORMAT.write("", {"y": values}, COLUMNS) == b'{"outputs":[0.1,1.0,1e20,16777216.0]}'
    half = np.array([0.1], np.float16)
    assert np.array(written({"y": half}, COLUMNS)["outputs"], np.float16) == half


@given(
    arrays.arrays(
        np.float32,
        st.integers(1, 5).map(lambda length: length * 50),
        elements=st.one_of(
            st.floats(width=32),
            st.floats(-1000, 1000, width=32),
            st.decimals(-1000, 1000, places=3).map(lambda value: float(np.float32(value))),
        ),
    )
)
def test_many_floats_are_written_like_one(array: Array) -> None:
    """The quick way for large outputs finds the digits that numpy finds one by one."""
    for digits, value in zip(written({"y": array}, COLUMNS)["outputs"], array, strict=True):
        assert is_same(digits, float(str(value)))


def test_strings_are_text_unless_their_alias_says_bytes() -> None:
    """`_bytes` outputs are always b64; others where UTF-8 fails."""
    y: npt.NDArray[Any] = np.array([["ä".encode(), b"\xff"]], object)
    assert written({"y": y}, COLUMNS) == {"outputs": [["ä", {"b64": "/w=="}]]}
    assert written({"y_bytes": y}, COLUMNS) == {
        "outputs": [[{"b64": "w6Q="}, {"b64": "/w=="}]],
    }
    null: npt.NDArray[Any] = np.array([b"null"], object)
    assert written({"y": null}, ROWS) == {"predictions": ["null"]}


def is_same(one: float, other: float) -> bool:
    """Return whether two floats are equal, or both no numbers."""
    return one == other or (math.isnan(one) and math.isnan(other))


@given(
    array=arrays.arrays(np.float32, arrays.array_shapes(min_side=0, max_side=4)),
    is_rows=st.booleans(),
)
def test_floats_come_back_as_they_were(array: Array, is_rows: bool) -> None:
    """Any float32, NaN and infinity among them, survives JSON there and back."""
    body = written({"y": array}, Style(is_rows))
    back = body["predictions" if is_rows else "outputs"]
    found = only("serving_default", back)
    assert found.shape == array.shape or not array.size
    assert all(map(is_same, found.ravel().tolist(), array.ravel().tolist()))


@given(
    arrays.arrays(
        object,
        arrays.array_shapes(max_side=3),
        elements=st.one_of(st.binary(max_size=4), st.text(max_size=4).map(str.encode)),
        fill=st.nothing(),
    )
)
def test_strings_come_back_as_they_were(array: Array) -> None:
    """Whether text or bytes."""
    for alias in ("y", "y_bytes"):
        found = only("text", written({alias: array}, COLUMNS)["outputs"])
        assert found.tolist() == array.tolist()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["serving_default", "two", "none", "text", "bool", "uint64"])


@given(value=JSON, form=st.sampled_from(["instances", "inputs"]), name=NAMES)
def test_any_json_is_a_request_or_a_refusal(value: Body, form: str, name: str) -> None:
    """No body of a stranger raises anything."""
    body = json.dumps({"signature_name": name, form: value}).encode()
    found = FORMAT.read(body)
    assert isinstance(found, InvalidRequest | InferRequest)
