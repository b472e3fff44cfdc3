"""What breaks the rules of tensors is INVALID_ARGUMENT, on a TF1 and a TF2 model."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.open_inference.clients import (
    message,
    prefixed,
    refusal,
    with_raw,
    with_typed,
)
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO

Make = Callable[[str], Any]


def raw(signature: str, datatype: str, shape: list[int], packed: bytes) -> Make:
    """Return a maker of requests with one packed input."""
    return lambda name: with_raw(message(name, signature=signature), "x", datatype, shape, packed)


def typed(signature: str, datatype: str, shape: list[int], **contents: list[Any]) -> Make:
    """Return a maker of requests with one typed input."""
    return lambda name: with_typed(
        message(name, signature=signature), "x", datatype, shape, **contents
    )


def pair(*, typed_too: bool = False, entries: int = 2, names: str = "ab") -> Make:
    """Return a maker of requests to a signature with two inputs."""

    def make(name: str) -> Any:  # noqa: ANN401 - untyped
        request = message(name, signature="pair")
        for each in names:
            request.inputs.add(name=each, datatype="FP32", shape=[1, 1])
        request.raw_input_contents.extend([struct.pack("<f", 1)] * entries)
        if typed_too:
            request.inputs[1].contents.fp32_contents.append(1)
        return request

    return make


F4 = struct.pack("<4f", 1, 2, 3, 4)
VIOLATIONS: dict[str, tuple[Make, str]] = {
    "any raw entry and contents in the same input": (pair(typed_too=True), "contents"),
    "any raw entry and contents in another input": (
        pair(typed_too=True, entries=1),
        "raw_input_contents has 1 entries for 2 inputs",
    ),
    "fewer raw entries than inputs": (pair(entries=1), "1 entries for 2 inputs"),
    "more raw entries than inputs": (pair(entries=3), "3 entries for 2 inputs"),
    "an input twice": (pair(names="aa"), "twice"),
    "byte length below product(shape) x size": (
        raw("float32", "FP32", [2, 2], F4[:-4]),
        "12 packed bytes",
    ),
    "byte length above product(shape) x size": (raw("float32", "FP32", [2, 2], F4 + b"!"), "17"),
    "no raw bytes for a shape": (raw("float32", "FP32", [2, 2], b""), "0 packed bytes"),
    "raw bytes for an empty shape": (raw("float32", "FP32", [0, 2], F4), "16 packed bytes"),
    "BOOL byte other than 0 and 1": (raw("bool", "BOOL", [1, 2], b"\x01\x02"), "0 and 1"),
    "BYTES cut within a length": (raw("string", "BYTES", [1, 1], b"\x01\x00"), "length"),
    "BYTES cut within an element": (raw("string", "BYTES", [1, 1], prefixed(b"ab")[:-1]), "string"),
    "BYTES element too few": (raw("string", "BYTES", [1, 2], prefixed(b"ab")), "1 strings"),
    "BYTES element too many": (raw("string", "BYTES", [1, 1], prefixed(b"a", b"")), "2 strings"),
    "BYTES length beyond 2 GiB": (raw("string", "BYTES", [1, 1], b"\xff" * 8), "string"),
    "negative dimension": (raw("float32", "FP32", [-2, -2], F4), "negative"),
    "shape too large": (raw("float32", "FP32", [2**62, 4], b""), "takes"),
    "unknown datatype": (raw("float32", "FP33", [2, 2], F4), "FP33"),
    "datatype in small letters": (raw("float32", "fp32", [2, 2], F4), "fp32"),
    "no datatype": (raw("float32", "", [2, 2], F4), "datatype"),
    "datatype that is not the model's": (raw("float32", "INT32", [2, 2], F4), "int32"),
    "rank that is not the model's": (raw("float32", "FP32", [4], F4), ""),
    "typed values too few": (typed("float32", "FP32", [2], fp32_contents=[1.0]), "1 values"),
    "typed values too many": (typed("float32", "FP32", [1], fp32_contents=[1.0] * 2), "2 values"),
    "typed values in another field": (typed("float32", "FP32", [1], fp64_contents=[1.0]), "fp64"),
    "typed values in two fields": (
        typed("int32", "INT32", [1, 1], int_contents=[1], int64_contents=[1]),
        "int64_contents",
    ),
    "INT8 value out of range": (typed("int8", "INT8", [1, 1], int_contents=[128]), "range"),
    "INT16 value out of range": (typed("int16", "INT16", [1, 1], int_contents=[-32769]), "range"),
    "UINT8 value out of range": (typed("uint8", "UINT8", [1, 1], uint_contents=[256]), "range"),
    "UINT16 value out of range": (
        typed("uint16", "UINT16", [1, 1], uint_contents=[65536]),
        "range",
    ),
    "no contents at all": (typed("float32", "FP32", [1, 1]), "values"),
    "missing input": (pair(names="a", entries=1), "missing: b"),
    "unexpected input": (pair(names="abc", entries=3), "unexpected: c"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_violation(stub: Any, name: str, violation: str) -> None:  # noqa: ANN401 - untyped
    """Violations = INVALID_ARGUMENT, in words that name what is wrong."""
    make, words = VIOLATIONS[violation]
    code, message_ = refusal(stub.ModelInfer, make(name), timeout=30)
    assert code == "INVALID_ARGUMENT"
    assert words in message_


WRONG: dict[str, tuple[str, str, list[int], int]] = {
    "bytes": ("x", "FP32", [2, 1], 4),
    "datatype": ("x", "FP64", [1, 1], 8),
    "name": ("z", "FP32", [1, 1], 4),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_violation_on_every_platform(stub: Any, name: str, what: str) -> None:  # noqa: ANN401 - untyped
    """Bad tensor INVALID_ARGUMENT."""
    alias, datatype, shape, size = WRONG[what]
    request = with_raw(message(name), alias, datatype, shape, bytes(size))
    assert refusal(stub.ModelInfer, request, timeout=30)[0] == "INVALID_ARGUMENT"


def test_shape_that_is_not_the_models(stub: Any) -> None:  # noqa: ANN401 - untyped
    """Bad tensor INVALID_ARGUMENT; of a SavedModel, the graph says what is bad."""
    packed = struct.pack("<2f", 1, 2)
    for name in ("onnx", "python"):
        request = with_raw(message(name), "x", "FP32", [1, 2], packed)
        assert refusal(stub.ModelInfer, request, timeout=30)[0] == "INVALID_ARGUMENT"
    for name in ("tf1", "tf2"):
        request = with_raw(message(name), "x", "FP32", [1, 2], packed)
        answer = stub.ModelInfer(request, timeout=30)
        assert list(answer.raw_output_contents) == [struct.pack("<2f", 2.5, 3)]
    for name in EVERY_KIND:
        request = with_raw(message(name, signature="float32"), "x", "FP32", [2], packed)
        assert refusal(stub.ModelInfer, request, timeout=30)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("name", EVERY_KIND)
def test_unknown_requested_output(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Requested outputs that the model has not are INVALID_ARGUMENT, and named."""
    request = raw("float32", "FP32", [2, 2], F4)(name)
    request.outputs.add(name="nosuch")
    code, words = refusal(stub.ModelInfer, request, timeout=30)
    assert code == "INVALID_ARGUMENT"
    assert "nosuch" in words


@pytest.mark.parametrize("name", EVERY_KIND)
def test_raw_entries_are_in_the_order_of_inputs(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Entries in the order of `inputs`, whatever the order of the model's own."""
    request = message(name, signature="narrow")
    with_raw(request, "x", "FP32", [2, 2], F4)
    narrow = stub.ModelInfer(request, timeout=30)
    assert {each.name for each in narrow.outputs} == {"half", "same"}
    request = message(name, signature="pair")
    with_raw(request, "b", "FP32", [1, 2], struct.pack("<2f", 1, 2))
    with_raw(request, "a", "FP32", [1, 1], struct.pack("<f", 10))
    request.outputs.add(name="sum")
    answer = stub.ModelInfer(request, timeout=30)
    assert list(answer.raw_output_contents) == [struct.pack("<2f", 11, 12)]
