"""Tensors of the Open Inference Protocol and numpy arrays, each from the other.

Knows datatypes, packed bytes and typed fields; which of the two a message uses is the business of
`open_inference`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

import ml_dtypes
import numpy as np

from headrace.consumer.formats.wire import varint
from headrace.consumer.platforms.platform import Array
from headrace.protos.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

# They have the same fields.
WireTensor: TypeAlias = ModelInferRequest.InferInputTensor | ModelInferResponse.InferOutputTensor

MAX_RANK: Final = 64
_STRING: Final = np.dtype(object)
_BOOL: Final = np.dtype(np.bool_)


class _Datatype(NamedTuple):
    """`field` is where values travel typed, "" when they cannot."""

    dtype: np.dtype[Any]
    field: str


_DATATYPES: Final = {
    "BOOL": _Datatype(_BOOL, "bool_contents"),
    "UINT8": _Datatype(np.dtype(np.uint8), "uint_contents"),
    "UINT16": _Datatype(np.dtype(np.uint16), "uint_contents"),
    "UINT32": _Datatype(np.dtype(np.uint32), "uint_contents"),
    "UINT64": _Datatype(np.dtype(np.uint64), "uint64_contents"),
    "INT8": _Datatype(np.dtype(np.int8), "int_contents"),
    "INT16": _Datatype(np.dtype(np.int16), "int_contents"),
    "INT32": _Datatype(np.dtype(np.int32), "int_contents"),
    "INT64": _Datatype(np.dtype(np.int64), "int64_contents"),
    "FP16": _Datatype(np.dtype(np.float16), ""),
    "BF16": _Datatype(np.dtype(ml_dtypes.bfloat16), ""),
    "FP32": _Datatype(np.dtype(np.float32), "fp32_contents"),
    "FP64": _Datatype(np.dtype(np.float64), "fp64_contents"),
    "BYTES": _Datatype(_STRING, "bytes_contents"),
}
_NAMES: Final = {datatype.dtype: name for name, datatype in _DATATYPES.items()}
# The packed wire form of these fields is the array's own bytes (on a little-endian machine).
_PACKED_TAGS: Final = {
    np.dtype(np.float32): b"\x32",
    np.dtype(np.float64): b"\x3a",
    _BOOL: b"\x0a",
}
RAW_DTYPES: Final = frozenset(_NAMES) - {_STRING}
"""What `raw_input_contents` carries as the array's own bytes."""

_LENGTH: Final = struct.Struct("<I")


def from_raw(tensor: WireTensor, raw: bytes) -> Array:
    """Return the array of a tensor whose values are `raw`. Strings are an object array of `bytes`.

    Raises:
        ValueError: datatype, shape and bytes do not make a tensor; the text says why.
    """
    if tensor.contents.ByteSize():
        raise ValueError("it has contents beside raw_input_contents; give one or the other")
    return unpacked(tensor.datatype, tensor.shape, raw)


def unpacked(datatype: str, sizes: Iterable[int], raw: bytes) -> Array:
    """Return the array of a datatype and shape whose packed values are `raw`.

    Raises:
        ValueError: datatype, shape and bytes do not make a tensor; the text says why.
    """
    dtype = dtype_of(datatype)
    shape, count = shape_of(sizes)
    if dtype == _STRING:
        return reshaped(_strings(_split(raw), count), shape)
    if len(raw) != count * dtype.itemsize:
        raise ValueError(
            f"it has {len(raw)} packed bytes; {datatype} {list(shape)} takes "
            f"{count * dtype.itemsize}"
        )
    if dtype == _BOOL and raw.translate(None, b"\x00\x01"):
        raise ValueError("packed BOOL has a byte other than 0 and 1")
    return reshaped(np.frombuffer(raw, dtype), shape)


def from_contents(tensor: WireTensor) -> Array:
    """Return the array of a tensor whose values are in the typed field of its datatype.

    Raises:
        ValueError: datatype, shape and values do not make a tensor; the text says why.
    """
    dtype, field = _datatype(tensor.datatype)
    shape, count = shape_of(tensor.shape)
    if not field:
        raise ValueError(f"{tensor.datatype} has no typed field: send it in raw_input_contents")
    other = [found.name for found, _ in tensor.contents.ListFields() if found.name != field]
    if other:
        raise ValueError(f"{tensor.datatype} belongs in {field}, and {', '.join(other)} is set")
    values = getattr(tensor.contents, field)
    if len(values) != count:
        raise ValueError(f"{field} has {len(values)} values; shape {list(shape)} takes {count}")
    if dtype == _STRING:
        return reshaped(_strings(list(values), count), shape)
    if dtype.itemsize < 4 and dtype != _BOOL:
        return reshaped(_narrowed(np.fromiter(values, np.int64, count), dtype), shape)
    return reshaped(np.fromiter(values, dtype, count), shape)


def is_raw_only(array: Array) -> bool:
    """Return whether an array has a datatype that no typed field carries."""
    name = _NAMES.get(array.dtype)
    return name is not None and not _DATATYPES[name].field


@lru_cache(maxsize=1024)
def head(alias: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return an output's encoded name, datatype and shape; most answers of a model share theirs.

    Raises:
        ValueError: the protocol has no datatype for it.
    """
    name = datatype_of(alias, dtype)
    tensor = ModelInferResponse.InferOutputTensor(name=alias, datatype=name, shape=shape)
    return tensor.SerializeToString()


def to_raw(array: Array) -> bytes:
    """Return an array's packed bytes."""
    if array.dtype != _STRING:
        return array.tobytes()
    strings: list[bytes] = array.ravel().tolist()
    return b"".join([piece for s in strings for piece in (_LENGTH.pack(len(s)), s)])


def to_contents(array: Array) -> bytes:
    """Return an array as an encoded InferTensorContents; its dtype has a typed field."""
    tag = _PACKED_TAGS.get(array.dtype)
    if tag is not None:
        packed = array.tobytes()
        return tag + varint(len(packed)) + packed if packed else b""
    fields = cast("Any", {_DATATYPES[_NAMES[array.dtype]].field: array.ravel().tolist()})
    return InferTensorContents(**fields).SerializeToString()


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Return the numpy dtype of a datatype; strings are objects.

    Raises:
        ValueError: the protocol has no such datatype.
    """
    return _datatype(datatype).dtype


def datatype_of(alias: str, dtype: np.dtype[Any]) -> str:
    """Return the datatype of an output.

    Raises:
        ValueError: the protocol has none for it.
    """
    name = _NAMES.get(dtype)
    if name is None:
        raise ValueError(f"output {alias!r} has dtype {dtype}, which Open Inference has not")
    return name


def _datatype(name: str) -> _Datatype:
    found = _DATATYPES.get(name)
    if found is None:
        raise ValueError(f"datatype {name!r:.40} is not one of {', '.join(_DATATYPES)}")
    return found


def shape_of(sizes: Iterable[int]) -> tuple[tuple[int, ...], int]:
    """Return a request's shape, and the number of elements it takes.

    Raises:
        ValueError: no tensor has such a shape.
    """
    shape = tuple(sizes)
    if len(shape) > MAX_RANK:
        raise ValueError(f"it has {len(shape)} dimensions; at most {MAX_RANK}")
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {list(shape)} has a negative dimension")
    return shape, math.prod(shape)


def _narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    limits = np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise ValueError(f"a value is out of the range of {_NAMES[dtype]}")
    return values.astype(dtype)


def _split(raw: bytes) -> list[bytes]:
    """Return the strings that each follow their length."""
    strings: list[bytes] = []
    position, end = 0, len(raw)
    while position < end:
        start = position + _LENGTH.size
        if start > end:
            raise ValueError("packed BYTES ends within a length")
        position = start + _LENGTH.unpack_from(raw, position)[0]
        if position > end:
            raise ValueError("packed BYTES ends within a string")
        strings.append(raw[start:position])
    return strings


def _strings(strings: list[bytes], count: int) -> Array:
    if len(strings) != count:
        raise ValueError(f"it has {len(strings)} strings; its shape takes {count}")
    flat = np.empty(count, object)
    flat[:] = strings
    return flat


def reshaped(flat: Array, shape: tuple[int, ...]) -> Array:
    """Return elements in their shape.

    Raises:
        ValueError: numpy has no room for it.
    """
    try:
        return flat.reshape(shape)
    except ValueError as error:
        # An empty tensor may have dimensions beside the zero that numpy cannot hold.
        raise ValueError(f"shape {list(shape)} is too large for an array") from error
