"""facts/tfserving.md 3.5: the JSON of predict, in rows and in columns."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.conformance.http_client import Reply, Rest
from tests.conformance.tensorflow_serving import STYLES

each_style = pytest.mark.parametrize("style", STYLES)


class Sampler:
    """The REST predict call of the sampler of one style."""

    def __init__(self, rest: Rest, style: str) -> None:
        self._rest = rest
        self._path = f"/models/sampler_{style}:predict"

    def send(self, body: object) -> Reply:
        """Return what a body gets."""
        return self._rest.post(self._path, body)

    def rows(self, signature: str, *instances: object) -> Reply:
        """Ask in rows."""
        return self.send({"signature_name": signature, "instances": instances})

    def columns(self, signature: str, inputs: object) -> Reply:
        """Ask in columns."""
        return self.send({"signature_name": signature, "inputs": inputs})


@pytest.fixture(params=STYLES)
def sampler(rest: Rest, request: pytest.FixtureRequest) -> Sampler:
    """Both styles in turn."""
    return Sampler(rest, str(request.param))


A, B = {"a": 1.0, "b": 10.0}, {"a": 2.0, "b": 20.0}
ROWS: dict[str, tuple[str, list[Any], Any]] = {
    "one input: values": ("mixed_y", [1.0, 2.0], None),
    "one input: lists": ("serving_default", [[1.0], [5.0]], [[2.5], [4.5]]),
    "one input: objects": ("serving_default", [{"x": [1.0]}, {"x": [5.0]}], [[2.5], [4.5]]),
    "one input: whole numbers are floats, too": ("serving_default", [[1], [5]], [[2.5], [4.5]]),
    "one row": ("serving_default", [[1.0]], [[2.5]]),
    "several inputs: objects, and several outputs: objects": (
        "pair",
        [A, B],
        [{"sum": 11.0, "product": 10.0}, {"sum": 22.0, "product": 40.0}],
    ),
    "adds a leading batch dim": ("int32", [[[1, 2]], [[3, 4]]], [[[1, 2]], [[3, 4]]]),
    "a scalar becomes a vector of one": ("int32", [7], [7]),
}
del ROWS["one input: values"]
ROWS["one input: values"] = ("float64", [1.0, 2.5], [1.0, 2.5])


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_rows(sampler: Sampler, row: tuple[str, list[Any], Any]) -> None:
    """'Row format: `instances` … answer key `predictions` (list; objects if several outputs)'."""
    signature, instances, predictions = row
    reply = sampler.rows(signature, *instances)
    assert (reply.status, reply.json) == (200, {"predictions": predictions})


def test_signature_name_may_be_left_out(sampler: Sampler) -> None:
    """3.1: 'signature_name=""→"serving_default"'."""
    for extra in ({}, {"signature_name": ""}, {"signature_name": "serving_default"}):
        assert sampler.send({"instances": [[1.0]]} | extra).json == {"predictions": [[2.5]]}


COLUMNS: dict[str, tuple[str, Any, Any]] = {
    "one input: list": ("serving_default", [[1.0], [5.0]], [[2.5], [4.5]]),
    "one input: value": ("float32", 1.5, 1.5),
    "one input: object": ("serving_default", {"x": [[1.0]]}, [[2.5]]),
    "extra keys ignored": ("serving_default", {"x": [[1.0]], "more": 7}, [[2.5]]),
    "several inputs and outputs: objects": (
        "pair",
        {"a": [1.0, 2.0], "b": [10.0, 20.0]},
        {"sum": [11.0, 22.0], "product": [10.0, 40.0]},
    ),
    "dims may differ": (
        "pair",
        {"a": [1.0], "b": [10.0, 20.0]},
        {"sum": [11.0, 21.0], "product": [10.0, 20.0]},
    ),
    "an output without dimensions": ("total", [1.0, 2.0], 3.0),
    "outputs of different dims": ("mixed", [1.0, 2.0], {"y": [2.0, 3.0], "total": 3.0}),
}


@pytest.mark.parametrize("row", COLUMNS.values(), ids=COLUMNS)
def test_columns(sampler: Sampler, row: tuple[str, Any, Any]) -> None:
    """'Columnar: `inputs` = value/list (one input) or object …; dims may differ; `outputs`'."""
    signature, inputs, outputs = row
    reply = sampler.columns(signature, inputs)
    assert (reply.status, reply.json) == (200, {"outputs": outputs})


REFUSED: dict[str, tuple[Any, str]] = {
    "both keys -> 400": ({"instances": [[1.0]], "inputs": [[1.0]]}, "'instances'"),
    "neither key -> 400": ({}, "'instances'"),
    "no object": ([1.0], "object"),
    "no JSON": ('{"instances": [', "JSON"),
    "an empty body": ("", "JSON"),
    "instances is no list": ({"instances": 1.0}, "'instances' must be a list"),
    "instances is an object": ({"instances": {"x": [1.0]}}, "'instances' must be a list"),
    "instances is empty": ({"instances": []}, "'instances' must be a list"),
    "rows of different shapes": ({"instances": [[1.0], [1.0, 2.0]]}, "different lengths"),
    "rows of different forms": ({"instances": [{"x": [1.0]}, [1.0]]}, "instance 1"),
    "rows with different keys": (
        {"signature_name": "pair", "instances": [A, {"a": 1.0, "c": 2.0}]},
        "instance 1",
    ),
    "keys other than the signature's": (
        {"signature_name": "pair", "instances": [{"a": 1.0, "c": 2.0}]},
        "unexpected inputs: c",
    ),
    "keys fewer than the signature's": (
        {"signature_name": "pair", "instances": [{"a": 1.0}]},
        "missing: b",
    ),
    "values for several inputs": ({"signature_name": "pair", "instances": [1.0]}, "a, b"),
    "columns: an input is missing": ({"signature_name": "pair", "inputs": {"a": [1.0]}}, "b"),
    "columns: a list for several inputs": ({"signature_name": "pair", "inputs": [1.0]}, "a, b"),
    "unknown signature -> INVALID_ARGUMENT": (
        {"signature_name": "nope", "instances": [[1.0]]},
        'Serving signature name: "nope" not found in signature def',
    ),
    "signature_name is no text": ({"signature_name": 1, "instances": [[1.0]]}, "signature_name"),
    "text for a number": ({"instances": [["a"]]}, "'x'"),
    "true for a number": ({"instances": [[True]]}, "'x'"),
    "null for a number": ({"instances": [[None]]}, "'x'"),
    "a point in an integer": ({"signature_name": "int32", "instances": [1.5]}, "'x'"),
    "a number out of range": ({"signature_name": "int8", "instances": [128]}, "int8"),
    "a negative number for an unsigned": ({"signature_name": "uint8", "instances": [-1]}, "uint8"),
    "a number for text": ({"signature_name": "text", "instances": [1]}, "'x'"),
    "a number for true or false": ({"signature_name": "bool", "instances": [1]}, "'x'"),
    "b64 that is none": ({"signature_name": "text", "instances": [{"b64": "!"}]}, "base64"),
    "rows: an output without dimensions": (
        {"signature_name": "total", "instances": [1.0]},
        "not a row for each instance",
    ),
    "rows: outputs of different dim 0": (
        {"signature_name": "mixed", "instances": [1.0, 2.0]},
        "not a row for each instance",
    ),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_refused(sampler: Sampler, row: tuple[Any, str]) -> None:
    """'non-empty list', 'keys equal the signature inputs exactly', 'all rows same shape', 'all
    outputs same dim 0, rank ≥ 1', 'Both or neither key → 400'.
    """
    body, words = row
    reply = sampler.send(body)
    assert reply.status == 400
    assert words in reply.error


def test_input_with_a_default_may_be_left_out(sampler: Sampler) -> None:
    """'every input required, so signature defaults are unusable'.

    Differs from TensorFlow Serving: an input with a default may be left out, as by gRPC.
    """
    columns = sampler.columns("defaulted", {"x": [1.0, 2.0]})
    assert columns.json == {"outputs": [11.0, 12.0]}
    assert sampler.rows("defaulted", {"x": 1.0}, {"x": 2.0}).json == {"predictions": [11.0, 12.0]}
    assert sampler.columns("defaulted", {"x": [1.0], "plus": 0.5}).json == {"outputs": [1.5]}


@pytest.mark.parametrize(
    ("value", "y", "y_bytes"),
    [
        ("ab", "AB", {"b64": "YWI="}),
        ({"b64": "YWI="}, "AB", {"b64": "YWI="}),
        ("ü", "ü", {"b64": "w7w="}),
        ("", "", {"b64": ""}),
        ({"b64": "/wA="}, {"b64": "/wA="}, {"b64": "/wA="}),
    ],
    ids=["text", "b64", "not ASCII", "empty", "no UTF-8"],
)
def test_bytes(sampler: Sampler, value: Any, y: Any, y_bytes: Any) -> None:  # noqa: ANN401 - JSON
    """'object with the only key `b64` on input; on output string tensors whose alias ends in
    `_bytes` are b64-wrapped'.

    Differs from TensorFlow Serving, which writes what is no UTF-8 as it is: that is no JSON.
    """
    rows = sampler.rows("text", value)
    assert rows.json == {"predictions": [{"y": y, "y_bytes": y_bytes}]}
    columns = sampler.columns("text", [[value]])
    assert columns.json == {"outputs": {"y": [[y]], "y_bytes": [[y_bytes]]}}


def test_object_with_more_than_b64_is_no_binary(sampler: Sampler) -> None:
    """'object with the *only* key b64'."""
    reply = sampler.rows("text", {"b64": "YWI=", "x": "ab"})
    assert reply.status == 400


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_none(sampler: Sampler, dtype: str) -> None:
    """'NaN/Infinity tokens accepted and produced'."""
    body = f'{{"signature_name": "{dtype}", "instances": [NaN, Infinity, -Infinity]}}'
    reply = sampler.send(body)
    assert "NaN, Infinity, -Infinity" in reply.text.replace("\n", "")
    nan, *infinities = reply.json["predictions"]
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("dtype", "sent", "text"),
    [
        ("float32", "0.1", "0.1"),
        ("float32", "1", "1.0"),
        ("float32", "-0.0", "-0.0"),
        ("float32", "16777217", "16777216.0"),
        ("float32", "3.4028235e38", "3.4028235e38"),
        ("float32", "1e39", "Infinity"),
        ("float32", "-1e39", "-Infinity"),
        ("float32", "1e-46", "0.0"),
        ("float64", "0.1", "0.1"),
        ("float64", "3", "3.0"),
        ("float64", "5e-324", "5e-324"),
        ("float64", "1e999", "Infinity"),
    ],
)
def test_floats_are_written_shortest(sampler: Sampler, dtype: str, sent: str, text: str) -> None:
    """'Floats: shortest form that round-trips, ".0" for whole. float overflow→inf.'."""
    reply = sampler.send(f'{{"signature_name": "{dtype}", "inputs": [{sent}]}}')
    assert reply.status == 200
    written = reply.text.replace(" ", "").replace("\n", "").replace("e+", "e")
    assert written == f'{{"outputs":[{text}]}}'


TYPES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int8": [-128, 127],
    "int16": [-(2**15), 2**15 - 1],
    "int32": [-(2**31), 2**31 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "uint8": [0, 255],
    "uint16": [0, 2**16 - 1],
    "uint32": [0, 2**32 - 1],
    "uint64": [0, 2**64 - 1],
    "float32": [0.5, -1.25],
    "float64": [0.1, -1e300],
}


@pytest.mark.parametrize("dtype", TYPES)
def test_types(sampler: Sampler, dtype: str) -> None:
    """'Types: bool, string, int8/16/32/64, uint8/32/64, float, double'; uint16 is one more."""
    values = TYPES[dtype]
    assert sampler.rows(dtype, *values).json == {"predictions": values}
    reply = sampler.columns(dtype, [values])
    assert json.loads(reply.text) == {"outputs": [values]}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_other_types_are_refused(sampler: Sampler, dtype: str) -> None:
    """'others 501/400'."""
    reply = sampler.rows(dtype, 1.0)
    assert reply.status in {400, 501}
    assert dtype in reply.error


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_floats_are_numbers_like_others(sampler: Sampler, dtype: str) -> None:
    """'others 501/400'.

    Differs from TensorFlow Serving: half precision is served.
    """
    assert sampler.rows(dtype, 0.5, -2.0).json == {"predictions": [0.5, -2.0]}
