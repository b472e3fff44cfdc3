"""Open Inference's JSON: values in it and behind it, and what is no request."""

from __future__ import annotations

import json
import math
import struct
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.open_inference_json import OpenInferenceJson, Style
from headrace.consumer.formats.open_inference_tensors import to_raw
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array

Body: TypeAlias = Any
FORMAT = OpenInferenceJson("m", 7)
AS_JSON, PACKED = Style("", False, frozenset()), Style("", True, frozenset())


def framed(body: bytes | Body, packed: bytes = b"") -> bytes:
    """Return a payload as the door makes it."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return struct.pack("<I", len(text)) + text + packed


def tensor(datatype: str, shape: list[int], data: Body = None, **more: Body) -> Body:
    """Return an input named x."""
    values = {} if data is None else {"data": data}
    return {"name": "x", "datatype": datatype, "shape": shape} | values | more


def read(payload: bytes) -> InferRequest:
    """Return what a payload says; it must be valid."""
    found = FORMAT.read(payload)
    assert not isinstance(found, InvalidRequest), found
    return found


def only(datatype: str, shape: list[int], data: Body) -> Array:
    """Return the one input of a request."""
    return read(framed({"inputs": [tensor(datatype, shape, data)]})).inputs["x"]


def written(outputs: dict[str, Array], style: Style) -> tuple[Body, bytes]:
    """Return the JSON of an answer, and what follows it."""
    payload = FORMAT.write("", outputs, style)
    (length,) = struct.unpack_from("<I", payload)
    return json.loads(payload[4 : 4 + length]), payload[4 + length :]


def same(found: Array, expected: npt.ArrayLike, dtype: npt.DTypeLike) -> None:
    """Check values and dtype."""
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray(expected, dtype))


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1], [2], [3], [4]]]])
def test_values_lie_flat_or_nested(data: Body) -> None:
    """Their order counts, and the shape says the rest."""
    same(only("INT32", [2, 2], data), [[1, 2], [3, 4]], np.int32)


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False], np.bool_),
        ("UINT8", [0, 255], np.uint8),
        ("INT8", [-128, 127], np.int8),
        ("UINT64", [0, 2**64 - 1], np.uint64),
        ("INT64", [-(2**63), 2**63 - 1], np.int64),
        ("FP16", [0.5, 1], np.float16),
        ("BF16", [0.5, 1], ml_dtypes.bfloat16),
        ("FP32", [0.1, 1], np.float32),
        ("FP64", [0.1, 1], np.float64),
    ],
)
def test_every_datatype_goes_in_and_out(datatype: str, data: Body, dtype: npt.DTypeLike) -> None:
    """The answer repeats what was sent."""
    array = only(datatype, [2], data)
    same(array, data, dtype)
    body, _ = written({"x": array}, AS_JSON)
    assert body["outputs"] == [tensor(datatype, [2], data)]


def test_strings_are_text() -> None:
    """In UTF-8 on both sides, also in outputs that another protocol would show as base64."""
    array = only("BYTES", [1, 2], ["ä", ""])
    assert array.tolist() == [["ä".encode(), b""]]
    body, _ = written({"x_bytes": array}, AS_JSON)
    assert body["outputs"][0]["data"] == ["ä", ""]


def test_bytes_that_are_no_text_have_to_be_asked_for_packed() -> None:
    """JSON cannot carry them, and the protocol knows no way around it."""
    array = np.array([b"\xff"], object)
    with pytest.raises(ValueError, match="ask for it with the parameter binary_data"):
        FORMAT.write("", {"x": array}, AS_JSON)
    assert written({"x": array}, PACKED)[1] == b"\x01\0\0\0\xff"


def test_numbers_beyond_json_stand_bare() -> None:
    """As Triton and TensorFlow Serving have them."""
    body = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[NaN,Infinity,-Infinity]}]}'
    )
    array = read(framed(body)).inputs["x"]
    same(array, [math.nan, math.inf, -math.inf], np.float32)
    assert b'"data": [NaN, Infinity, -Infinity]' in FORMAT.write("", {"x": array}, AS_JSON)


def test_packed_inputs_follow_the_json_in_their_order() -> None:
    """Beside inputs whose values are in the JSON."""
    inputs = [
        tensor("FP32", [2], parameters={"binary_data_size": 8}),
        tensor("INT8", [1], [5], name="y"),
        tensor("BYTES", [1], parameters={"binary_data_size": 6}, name="z"),
    ]
    packed = struct.pack("<2f", 1, 2) + b"\x02\0\0\0hi"
    found = read(framed({"inputs": inputs}, packed)).inputs
    same(found["x"], [1, 2], np.float32)
    same(found["y"], [5], np.int8)
    assert found["z"].tolist() == [b"hi"]


@pytest.mark.parametrize(
    ("parameters", "outputs", "packed"),
    [
        ({}, {"a": {}, "b": {}}, ""),
        ({}, {"a": {"binary_data": True}, "b": {}}, "a"),
        ({"binary_data_output": True}, {"a": {}, "b": {}}, "ab"),
        ({"binary_data_output": True}, {"a": {"binary_data": False}, "b": {}}, "b"),
        ({"binary_data_output": True}, {}, "ab"),
    ],
)
def test_request_says_which_outputs_come_packed(
    parameters: Body, outputs: Body, packed: str
) -> None:
    """All alike, and each output may differ."""
    wanted = [{"name": name, "parameters": own} for name, own in outputs.items()]
    body = {"inputs": [tensor("FP32", [1], [1])], "outputs": wanted, "parameters": parameters}
    request = read(framed(body))
    assert request.output_filter == tuple(outputs)
    assert isinstance(request.style, Style)
    values: dict[str, Array] = {"a": np.array([1], "f"), "b": np.array([2], "f")}
    answer, rest = written(values, request.style)
    assert rest == b"".join(values[name].tobytes() for name in packed)
    for output in answer["outputs"]:
        is_packed = output["name"] in packed
        assert output.get("parameters") == ({"binary_data_size": 4} if is_packed else None)
        assert ("data" in output) == (not is_packed)


def test_answer_names_the_version_and_repeats_the_id() -> None:
    """Without an id it has none."""
    body, _ = written({"y": np.array(2, "f")}, Style("request-1", False, frozenset()))
    assert body == {
        "model_name": "m",
        "model_version": "7",
        "id": "request-1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [], "data": [2.0]}],
    }
    assert "id" not in written({}, AS_JSON)[0]


def test_signature_is_a_parameter() -> None:
    """The same as over gRPC; parameters of other servers are ignored."""
    parameters = {"headrace_signature": "other", "sequence_id": 3, "priority": 1}
    assert read(framed({"inputs": [], "parameters": parameters})).signature == "other"


def test_output_without_a_datatype_is_refused() -> None:
    """The protocol has no complex numbers."""
    with pytest.raises(ValueError, match="'y' has dtype complex64, which Open Inference has not"):
        FORMAT.write("", {"y": np.array([1], np.complex64)}, PACKED)


def one(**more: Body) -> bytes:
    """Return a payload with one input, changed."""
    return framed({"inputs": [tensor("FP32", [2], [1, 2]) | more]})


PACKED_8 = {"parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "its JSON is longer than the whole"),
        (b"\x05\0\0\0{}", "its JSON is longer than the whole"),
        (framed(b"{"), "not JSON"),
        (framed(b'{"inputs":' + b"[" * 100_000), "not JSON: it is nested too deeply"),
        (framed(b"\xff"), "not JSON"),
    ],
)
def test_bytes_that_are_no_request_are_unreadable(payload: bytes, text: str) -> None:
    """Asking again cannot help."""
    error = FORMAT.read(payload)
    assert isinstance(error, UnreadableRequest)
    assert text in str(error)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (framed([]), "another form: Expected `object`, got `array`"),
        (framed({}), "missing required field `inputs`"),
        (framed({"inputs": [{"name": "x"}]}), "required field `shape` - at `$.inputs[0]`"),
        (framed({"inputs": [], "id": 5}), "Expected `str`, got `int` - at `$.id`"),
        (one(datatype="FP8"), "datatype 'FP8' is not one of BOOL"),
        (one(shape=[-2]), "shape [-2] has a negative dimension"),
        (one(shape=[1.5]), "Expected `int`, got `float`"),
        (one(shape=[3]), "data has 2 values; shape [3] takes 3"),
        (one(data=[[1], [2, 3]]), "different lengths"),
        (one(data=["1", "2"]), "expects float32"),
        (one(data=5), "data has 1 values; shape [2] takes 2"),
        (framed({"inputs": [tensor("FP32", [2])]}), "it has no values: give data"),
        (one(datatype="INT8", data=[1, 128]), "out of the range of int8"),
        (one(datatype="BYTES"), "expects strings"),
        (framed({"inputs": [tensor("FP32", [1], [1])] * 2}), "input 'x' is there twice"),
        (one(**PACKED_8), "it has data beside binary_data_size"),
        (
            framed({"inputs": [tensor("FP32", [2], **PACKED_8)]}, b"1234567"),
            "binary_data_size is 8; it must be a number of bytes, and 7 are left",
        ),
        (
            framed({"inputs": [tensor("FP32", [1], **PACKED_8)]}, b"12345678"),
            "it has 8 packed bytes; FP32 [1] takes 4",
        ),
        (
            framed({"inputs": [tensor("FP32", [1], parameters={"binary_data_size": True})]}),
            "binary_data_size is True",
        ),
        (
            framed({"inputs": [tensor("FP32", [1], parameters={"binary_data_size": -4})]}, b"1234"),
            "binary_data_size is -4",
        ),
        (framed({"inputs": []}, b"123"), "3 bytes follow the JSON, and the inputs'"),
        (
            framed({"inputs": [], "parameters": {"headrace_signatur": "x"}}),
            "'headrace_signatur' is not known; known is headrace_signature",
        ),
        (framed({"inputs": [], "parameters": {"headrace_signature": 1}}), "must be a string"),
        (
            framed({"inputs": [], "parameters": {"binary_data_output": 1}}),
            "binary_data_output, which must be true or false",
        ),
        (
            framed({"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": "a"}}]}),
            "output 'y' has the parameter binary_data, which must be true or false",
        ),
        (one(parameters={"shared_memory_region": "r"}), "shared_memory_region, which is not"),
        (
            framed({"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}),
            "output 'y' has the parameter classification, which is not served here",
        ),
    ],
)
def test_says_what_is_wrong(payload: bytes, text: str) -> None:
    """And never takes it for something else."""
    error = FORMAT.read(payload)
    assert isinstance(error, InvalidRequest)
    assert text in str(error)


@given(array=arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))
def test_any_array_comes_back_by_both_ways(array: Array) -> None:
    """To the last bit, whether in the JSON or behind it."""
    for style in (AS_JSON, PACKED):
        payload = FORMAT.write("", {"x": array}, style)
        answer, rest = written({"x": array}, style)
        text = json.dumps({"inputs": answer["outputs"]}).encode()
        assert payload.endswith(rest)
        found = read(framed(text, rest)).inputs["x"]
        assert found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@given(payload=st.binary() | st.binary().map(framed), packed=st.binary(max_size=20))
def test_no_bytes_break_the_reader(payload: bytes, packed: bytes) -> None:
    """It returns a request or what is wrong with it."""
    assert isinstance(FORMAT.read(payload + packed), InferRequest | InvalidRequest)


def test_packed_strings_are_the_protocols() -> None:
    """A length before each."""
    array = np.array([b"ab", b""], object)
    assert written({"x": array}, PACKED)[1] == to_raw(array) == b"\x02\0\0\0ab\0\0\0\0"
