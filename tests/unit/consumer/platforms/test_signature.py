"""How signatures are described to others."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.consumer.formats.tensor_proto import encode_tensor_proto, from_tensor_proto
from headrace.consumer.platforms.signature import (
    DTYPES,
    Signature,
    TensorSpec,
    encode_signatures,
)
from headrace.protos.tensorflow_pb2 import DataType, TensorProto
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap


def spec(alias: str, dtype: object, shape: tuple[int | None, ...] | None) -> TensorSpec:
    """Return a spec."""
    return TensorSpec(alias, np.dtype(dtype), shape)  # type: ignore[call-overload]


def test_specs_become_tensor_infos() -> None:
    """Unknown dimensions, unknown ranks, scalars and strings."""
    signature = Signature(
        "s",
        {"a": spec("a", np.int64, (None, 3)), "b": spec("b", object, None)},
        {"c": spec("c", np.float16, ())},
    )
    definition = SignatureDefMap.FromString(encode_signatures({"s": signature})).signature_def["s"]
    a, b, c = definition.inputs["a"], definition.inputs["b"], definition.outputs["c"]
    assert (a.dtype, [dim.size for dim in a.tensor_shape.dim]) == (DataType.DT_INT64, [-1, 3])
    assert (b.dtype, b.tensor_shape.unknown_rank) == (DataType.DT_STRING, True)
    assert (c.dtype, c.tensor_shape.unknown_rank, len(c.tensor_shape.dim)) == (
        DataType.DT_HALF,
        False,
        0,
    )
    assert all(info.name for info in (a, b, c))


def test_a_dtype_that_no_request_carries_is_refused() -> None:
    """The words name the tensor."""
    signature = Signature("s", {"when": spec("when", "datetime64[s]", ())}, {})
    with pytest.raises(ValueError, match="'when' has dtype datetime64"):
        encode_signatures({"s": signature})


def test_dtypes_are_those_that_requests_carry() -> None:
    """What can be described can be asked, and the other way round."""
    for dtype, number in DTYPES.items():
        array = np.full(1, b"", object) if dtype.kind == "O" else np.zeros(1, dtype)
        assert TensorProto.FromString(encode_tensor_proto("y", array)).dtype == number
    for name, other in DataType.items():
        if other not in DTYPES.values():
            with pytest.raises(ValueError, match="is not supported"):
                from_tensor_proto(TensorProto(dtype=name))


@pytest.mark.parametrize(
    ("declared", "shape", "fits"),
    [
        ((None, 2), (7, 2), True),
        ((None, 2), (7, 3), False),
        ((None, 2), (7,), False),
        ((), (), True),
        ((), (1,), False),
        (None, (1, 2, 3), True),
    ],
)
def test_shapes_fit_what_is_declared(
    declared: tuple[int | None, ...] | None, shape: tuple[int, ...], fits: bool
) -> None:
    """An unknown dimension takes any size, an unknown rank any shape."""
    assert spec("x", np.float32, declared).fits(shape) is fits


def test_a_model_may_refuse_company() -> None:
    """Nobody can make a signature without rows batchable, and anybody can say no."""
    rows, scalar = {"x": spec("x", np.float32, (None,))}, {"y": spec("y", np.float32, ())}
    assert Signature("s", rows, rows).is_batchable
    assert not Signature("s", rows, rows, is_batchable=False).is_batchable
    assert not Signature("s", rows, scalar, is_batchable=True).is_batchable
