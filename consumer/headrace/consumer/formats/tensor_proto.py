"""TensorFlow's TensorProto and numpy arrays, each from the other.

Reads packed bytes (`tensor_content`) and typed fields alike; writes typed fields, as TensorFlow
Serving does by default, so that a client may read `float_val` without TensorFlow's own reader.

Source: tensorflow/core/framework/tensor.cc (`FromProto`, `AsProtoField`) and tensor_coding.cc,
TensorFlow 2.21.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

import ml_dtypes
import numpy as np

from headrace.consumer.formats.wire import varint
from headrace.consumer.platforms.platform import Array
from headrace.protos.tensorflow_pb2 import DataType, TensorProto, TensorShapeProto

MAX_REPEATED_BYTES: Final = 1 << 26
"""Of a decoded tensor that carries fewer values than it has: a few bytes may claim any shape,
because the last value repeats, and must not cost more than a message that carries them all."""

MAX_RANK: Final = 64

_MAX_SHIFT: Final = 63
"""Of a length in a varint: one that never ends would be a number of millions of digits."""

_STRING: Final = np.dtype(object)
_FIELDS: Final[dict[int, tuple[Any, str]]] = {
    DataType.DT_FLOAT: (np.float32, "float_val"),
    DataType.DT_DOUBLE: (np.float64, "double_val"),
    DataType.DT_INT32: (np.int32, "int_val"),
    DataType.DT_UINT8: (np.uint8, "int_val"),
    DataType.DT_INT16: (np.int16, "int_val"),
    DataType.DT_INT8: (np.int8, "int_val"),
    DataType.DT_STRING: (object, "string_val"),
    DataType.DT_COMPLEX64: (np.complex64, "scomplex_val"),
    DataType.DT_INT64: (np.int64, "int64_val"),
    DataType.DT_BOOL: (np.bool_, "bool_val"),
    DataType.DT_BFLOAT16: (ml_dtypes.bfloat16, "half_val"),
    DataType.DT_UINT16: (np.uint16, "int_val"),
    DataType.DT_COMPLEX128: (np.complex128, "dcomplex_val"),
    DataType.DT_HALF: (np.float16, "half_val"),
    DataType.DT_UINT32: (np.uint32, "uint32_val"),
    DataType.DT_UINT64: (np.uint64, "uint64_val"),
}
_DTYPES: Final = {number: (np.dtype(kind), field) for number, (kind, field) in _FIELDS.items()}
_NUMBERS: Final = {dtype: number for number, (dtype, _field) in _DTYPES.items()}
_REAL_OF: Final[dict[str, np.dtype[Any]]] = {
    "scomplex_val": np.dtype(np.float32),
    "dcomplex_val": np.dtype(np.float64),
}
# The packed wire form of these fields is the array's own bytes (on a little-endian machine).
_PACKED_TAGS: Final = {
    np.dtype(np.float32): b"\x2a",
    np.dtype(np.float64): b"\x32",
    np.dtype(np.complex64): b"\x4a",
    np.dtype(np.complex128): b"\x62",
    np.dtype(np.bool_): b"\x5a",
}

RAW_DTYPES: Final = frozenset(_NUMBERS) - {_STRING}
"""What `tensor_content` carries as the array's own bytes, and some typed fields do."""


def from_tensor_proto(proto: TensorProto) -> Array:
    """Return the array of a TensorProto. Strings are an object array of `bytes`.

    Raises:
        ValueError: shape, dtype and values do not make a tensor; the text says why.
    """
    known = _DTYPES.get(proto.dtype)
    if known is None:
        raise ValueError(f"dtype {_name_of(proto.dtype)} is not supported")
    dtype, field = known
    shape = _shape(proto.tensor_shape)
    count = math.prod(shape)
    if proto.tensor_content:
        flat = _from_content(proto.tensor_content, dtype, count)
    elif dtype == _STRING:
        flat = _strings(proto.string_val, count)
    else:
        flat = _filled(_values(getattr(proto, field), dtype, field), count)
    try:
        return flat.reshape(shape)
    except ValueError as error:
        # An empty tensor may have dimensions beside the zero that numpy cannot hold.
        raise ValueError(f"shape {list(shape)} is too large for an array") from error


def encode_tensor_proto(alias: str, array: Array) -> bytes:
    """Return an array as an encoded TensorProto with typed fields.

    Raises:
        ValueError: the array's dtype has none.
    """
    number = _NUMBERS.get(array.dtype)
    if number is None:
        raise ValueError(f"output {alias!r} has dtype {array.dtype}, which no TensorProto carries")
    head = _head(number, array.shape)
    tag = _PACKED_TAGS.get(array.dtype)
    if tag is not None:
        packed = array.tobytes()
        return head + tag + varint(len(packed)) + packed if packed else head
    _dtype, field = _DTYPES[number]
    values = array.ravel()
    if field == "half_val":
        values = values.view(np.uint16)
    fields = cast("Any", {field: values.tolist()})
    return head + TensorProto(**fields).SerializeToString()


@lru_cache(maxsize=1024)
def _head(number: int, shape: tuple[int, ...]) -> bytes:
    """Return the encoded dtype and shape of a tensor; most answers of a model share theirs."""
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    head = TensorProto(dtype=cast("DataType", number), tensor_shape=TensorShapeProto(dim=dims))
    return head.SerializeToString()


def _shape(proto: TensorShapeProto) -> tuple[int, ...]:
    if proto.unknown_rank:
        raise ValueError("its shape has an unknown rank")
    shape = tuple([dim.size for dim in proto.dim])
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {list(shape)} has a negative dimension")
    if len(shape) > MAX_RANK:
        raise ValueError(f"it has {len(shape)} dimensions; at most {MAX_RANK}")
    return shape


def _from_content(content: bytes, dtype: np.dtype[Any], count: int) -> Array:
    if dtype == _STRING:
        return _strings(_string_list(content, count), count)
    if len(content) != count * dtype.itemsize:
        raise ValueError(
            f"tensor_content has {len(content)} bytes; {count} elements of {dtype} take "
            f"{count * dtype.itemsize}"
        )
    return np.frombuffer(content, dtype)


def _string_list(content: bytes, count: int) -> list[bytes]:
    """Return packed strings: all lengths as varints, then all bytes."""
    lengths: list[int] = []
    position = length = shift = 0
    while len(lengths) < count and position < len(content):
        byte = content[position]
        position += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            lengths.append(length)
            length = shift = 0
        elif shift > _MAX_SHIFT:
            break
    if len(lengths) < count or position + sum(lengths) != len(content):
        raise ValueError(f"tensor_content does not hold {count} strings")
    strings: list[bytes] = []
    for size in lengths:
        strings.append(content[position : position + size])
        position += size
    return strings


def _values(values: Sequence[Any], dtype: np.dtype[Any], field: str) -> Array:
    """Return the values of a typed field, as many as there are."""
    real = _REAL_OF.get(field)
    if real is not None:
        flat = np.fromiter(values, real, len(values))
        return flat[: len(flat) // 2 * 2].view(dtype)
    if field == "half_val":
        # The low 16 bits of each number are those of the float.
        return np.fromiter(values, np.int32, len(values)).astype(np.uint16).view(dtype)
    if field == "int_val":
        return np.fromiter(values, np.int32, len(values)).astype(dtype)
    return np.fromiter(values, dtype, len(values))


def _filled(values: Array, count: int) -> Array:
    """Return `count` values: the surplus is dropped, the last one repeats, none means zeros."""
    given = len(values)
    if given >= count:
        return values[:count]
    if count * values.itemsize > MAX_REPEATED_BYTES:
        raise ValueError(
            f"it has {given} of {count} values; a tensor whose values are not all there has "
            f"{MAX_REPEATED_BYTES} bytes at most"
        )
    flat = np.zeros(count, values.dtype)
    if given:
        flat[:given] = values
        flat[given:] = values[-1]
    return flat


def _strings(values: Iterable[bytes], count: int) -> Array:
    strings = list(values)
    flat = np.empty(len(strings), object)
    flat[:] = strings
    if not strings and count:
        flat = np.full(1, b"", object)
    return _filled(flat, count)


def _name_of(number: int) -> str:
    name_of: Callable[[int], str] = DataType.Name
    try:
        return name_of(number)
    except ValueError:
        return str(number)
