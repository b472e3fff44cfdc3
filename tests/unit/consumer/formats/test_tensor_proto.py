"""TensorProto and arrays: every dtype, every way that a sender may have put the values."""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.formats.tensor_proto import (
    encode_tensor_proto,
    from_tensor_proto,
)
from headrace.consumer.formats.wire import varint
from headrace.protos.tensorflow_pb2 import DataType, TensorProto, TensorShapeProto

DType: TypeAlias = Any
Field: TypeAlias = Any


def shape(*sizes: int) -> TensorShapeProto:
    """Return a shape."""
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def decoded(**fields: Field) -> list[Any]:
    """Return the elements of a TensorProto with these fields."""
    elements: list[Any] = from_tensor_proto(TensorProto(**fields)).tolist()
    return elements


DTYPES: list[tuple[Any, npt.ArrayLike]] = [
    (np.float16, [1.5, -2, np.inf]),
    (ml_dtypes.bfloat16, [1.5, -2, 3]),
    (np.float32, [1.5, -0.0, 3e38]),
    (np.float64, [1.5, -2, 1e300]),
    (np.int8, [-128, 0, 127]),
    (np.int16, [-32768, 0, 32767]),
    (np.int32, [-(2**31), 0, 2**31 - 1]),
    (np.int64, [-(2**63), 0, 2**63 - 1]),
    (np.uint8, [0, 1, 255]),
    (np.uint16, [0, 1, 65535]),
    (np.uint32, [0, 1, 2**32 - 1]),
    (np.uint64, [0, 1, 2**64 - 1]),
    (np.bool_, [True, False, True]),
    (np.complex64, [1 + 2j, 0, -1j]),
    (np.complex128, [1 + 2j, 0, -1j]),
    (object, [b"a", b"", b"\xff"]),
]


@pytest.mark.parametrize(("dtype", "elements"), DTYPES, ids=lambda v: getattr(v, "__name__", ""))
def test_typed_fields_there_and_back(dtype: DType, elements: npt.ArrayLike) -> None:
    """Every dtype survives the way through typed fields, as a vector, a scalar and empty."""
    vector: npt.NDArray[Any] = np.array(elements, dtype)
    for array in (vector, vector.reshape(1, 3, 1), vector[0:1].reshape(()), vector[:0]):
        proto = TensorProto.FromString(encode_tensor_proto("y", array))
        assert not proto.tensor_content
        back = from_tensor_proto(proto)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("dtype", "elements"), DTYPES[:-1], ids=lambda v: getattr(v, "__name__", "")
)
def test_reads_packed_content(dtype: DType, elements: npt.ArrayLike) -> None:
    """Every number's dtype is read from `tensor_content`."""
    array: npt.NDArray[Any] = np.array(elements, dtype)
    proto = TensorProto.FromString(encode_tensor_proto("y", array[:0]))
    proto.tensor_shape.CopyFrom(shape(3))
    proto.tensor_content = array.tobytes()
    np.testing.assert_array_equal(from_tensor_proto(proto), array)


def test_reads_packed_strings() -> None:
    """Strings in `tensor_content` are lengths, then bytes."""
    long = b"x" * 300
    content = varint(1) + varint(300) + varint(0) + b"a" + long
    dtype = DataType.DT_STRING
    assert decoded(dtype=dtype, tensor_shape=shape(3), tensor_content=content) == [b"a", long, b""]


def test_the_last_value_repeats() -> None:
    """Fewer values than elements: the last repeats; none at all: zeros or empty strings."""
    three = shape(3)
    assert decoded(dtype=1, tensor_shape=three, float_val=[1, 2]) == [1, 2, 2]
    assert decoded(dtype=1, tensor_shape=three) == [0, 0, 0]
    assert decoded(dtype=7, tensor_shape=three, string_val=[b"a"]) == [b"a", b"a", b"a"]
    assert decoded(dtype=7, tensor_shape=three) == [b"", b"", b""]
    assert decoded(dtype=8, tensor_shape=three, scomplex_val=[1, 2]) == [1 + 2j] * 3
    assert from_tensor_proto(TensorProto(dtype=DataType.DT_FLOAT)).shape == ()


def test_surplus_values_are_dropped() -> None:
    """More values than elements: the first count, as in TensorFlow."""
    assert decoded(dtype=9, tensor_shape=shape(2), int64_val=[1, 2, 3]) == [1, 2]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"dtype": 0}, "dtype DT_INVALID is not supported"),
    ({"dtype": 20}, "dtype DT_RESOURCE is not supported"),
    ({"dtype": 999}, "dtype 999 is not supported"),
    ({"dtype": 1, "tensor_shape": shape(-1)}, "negative dimension"),
    ({"dtype": 1, "tensor_shape": TensorShapeProto(unknown_rank=True)}, "unknown rank"),
    ({"dtype": 1, "tensor_shape": shape(2**40)}, "values are not all there"),
    ({"dtype": 1, "tensor_shape": shape(2**62, 2**62)}, "values are not all there"),
    ({"dtype": 1, "tensor_shape": shape(0, 2**62, 2**62)}, "too large"),
    ({"dtype": 1, "tensor_shape": shape(*[1] * 65)}, "dimensions"),
    ({"dtype": 1, "tensor_shape": shape(2), "tensor_content": b"12345"}, "has 5 bytes; 2 elem"),
    ({"dtype": 7, "tensor_shape": shape(2), "tensor_content": b"\x01"}, "does not hold 2 strings"),
    ({"dtype": 7, "tensor_shape": shape(1), "tensor_content": b"\xff" * 99}, "not hold 1 strings"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_says_why_it_is_no_tensor(fields: dict[str, Any], words: str) -> None:
    """What does not make a tensor is a ValueError in words."""
    with pytest.raises(ValueError, match=words):
        from_tensor_proto(TensorProto(**fields))


def test_refuses_dtypes_without_a_field() -> None:
    """An output that no TensorProto can carry is named."""
    with pytest.raises(ValueError, match="output 'y' has dtype datetime64"):
        encode_tensor_proto("y", np.zeros(1, "datetime64[s]"))


@given(data=st.binary(max_size=60), dtype=st.integers(0, 40), dims=st.lists(st.integers(-1, 3)))
def test_nothing_but_value_errors(data: bytes, dtype: int, dims: list[int]) -> None:
    """Whatever the fields hold, there is an array or a ValueError."""
    proto: Any = TensorProto(tensor_shape=shape(*dims), tensor_content=data)
    proto.dtype = dtype
    try:
        array = from_tensor_proto(proto)
    except ValueError:
        return
    assert list(array.shape) == dims


@given(number=st.integers(0, 2**40))
def test_varints_are_protobufs(number: int) -> None:
    """Lengths are written as protobuf writes them."""
    expected = TensorProto(tensor_shape=shape(number)).tensor_shape.dim[0].SerializeToString()
    assert expected == (b"\x08" + varint(number) if number else b"")
