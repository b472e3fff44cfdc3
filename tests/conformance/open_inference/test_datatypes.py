"""Every datatype, packed and typed, on a TF1 and a TF2 model."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tests.conformance.open_inference.clients import (
    AnyTriton,
    message,
    refusal,
    with_raw,
    with_typed,
)
from tests.conformance.open_inference.kinds import KINDS
from tests.conformance.open_inference.models import EVERY_KIND
from tests.integration.consumer.rpc.triton import inputs_of

RAW_ONLY = [name for name, kind in KINDS.items() if not kind.field]
TYPED = [name for name, kind in KINDS.items() if kind.field]

models = pytest.mark.parametrize("name", EVERY_KIND)


@models
@pytest.mark.parametrize("kind", KINDS)
def test_raw(stub: Any, name: str, kind: str) -> None:  # noqa: ANN401 - untyped
    """Row-major, no padding, little-endian; raw in → raw out."""
    of = KINDS[kind]
    request = with_raw(message(name, signature=of.signature), "x", of.datatype, [2, 2], of.raw)
    for wanted in ("column", "same"):
        request.outputs.add(name=wanted)
    answer = stub.ModelInfer(request, timeout=30)
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("column", of.datatype, [2]),
        ("same", of.datatype, [2, 2]),
    ]
    # The first of each row: a tensor that is not row-major has another column.
    assert list(answer.raw_output_contents) == [of.pack(of.values[::2]), of.raw]
    assert not any(each.HasField("contents") for each in answer.outputs)


@models
@pytest.mark.parametrize("kind", TYPED)
def test_typed(stub: Any, name: str, kind: str) -> None:  # noqa: ANN401 - untyped
    """Typed mapping: INT8/16/32→int_contents, UINT8/16/32→uint_contents; typed in → typed out."""
    of = KINDS[kind]
    request = message(name, signature=of.signature)
    with_typed(request, "x", of.datatype, [2, 2], **{of.field: of.values})
    for wanted in ("column", "same"):
        request.outputs.add(name=wanted)
    answer = stub.ModelInfer(request, timeout=30)
    assert not answer.raw_output_contents
    column, same = answer.outputs
    assert (column.datatype, list(column.shape)) == (of.datatype, [2])
    assert list(getattr(column.contents, of.field)) == list(of.values[::2])
    assert list(getattr(same.contents, of.field)) == list(of.values)
    assert [field.name for field, _ in same.contents.ListFields()] == [of.field]


@models
@pytest.mark.parametrize("kind", RAW_ONLY)
def test_raw_only_datatype_has_no_typed_field(stub: Any, name: str, kind: str) -> None:  # noqa: ANN401 - untyped
    """FP16/BF16 have no typed field, so raw only."""
    of = KINDS[kind]
    request = message(name, signature=of.signature)
    with_typed(request, "x", of.datatype, [2, 2], fp32_contents=[0, 1, 2, 3])
    code, words = refusal(stub.ModelInfer, request, timeout=30)
    assert code == "INVALID_ARGUMENT"
    assert "raw_input_contents" in words


@models
def test_typed_request_for_a_raw_only_datatype(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """FP16/BF16 → always raw; any raw output means that all are."""
    request = message(name, signature="narrow")
    with_typed(request, "x", "FP32", [1, 2], fp32_contents=[1.5, -2])
    for wanted in ("half", "same"):
        request.outputs.add(name=wanted)
    answer = stub.ModelInfer(request, timeout=30)
    assert [each.datatype for each in answer.outputs] == ["FP16", "FP32"]
    assert list(answer.raw_output_contents) == [
        struct.pack("<2e", 1.5, -2),
        struct.pack("<2f", 1.5, -2),
    ]
    assert not any(each.HasField("contents") for each in answer.outputs)
    del request.outputs[0]
    answer = stub.ModelInfer(request, timeout=30)
    assert list(answer.outputs[0].contents.fp32_contents) == [1.5, -2]


@models
@pytest.mark.parametrize(
    "dtype",
    ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "object"],
)
def test_numpy_arrays_through_tritons_client(triton: AnyTriton, name: str, dtype: str) -> None:
    """Triton's client reads and writes every datatype that numpy has."""
    x = np.array([[1, 0, 1], [0, 0, 1]], np.dtype(dtype))
    if dtype == "object":
        x = np.array([[b"a", b""], ["ü".encode(), b"d\x00"]], object)
    signature = "string" if dtype == "object" else x.dtype.name
    answer = triton.ask("infer", name, inputs_of(x=x), parameters={"headrace_signature": signature})
    np.testing.assert_array_equal(answer.as_numpy("same"), x)
    np.testing.assert_array_equal(answer.as_numpy("column"), x[:, 0])
