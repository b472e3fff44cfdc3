"""Wire tensors and numpy arrays, each from the other.

Numbers travel as little-endian bytes, so reading them is a view and no copy. Names of dtypes are
numpy's; `string` is a tensor of byte strings, as in TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headrace.schemas.errors import Undecodable
from headrace.schemas.records import Tensor

STRING: Final = "string"
MAX_RANK: Final = 32

_NUMBERS: Final = (
    "bool",
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
    *("complex64", "complex128"),
)
_NAMES: Final = {np.dtype(name): name for name in _NUMBERS}

NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name).newbyteorder("<") for name in _NUMBERS
}
"""What each dtype name of a wire tensor with numbers is in numpy: always little-endian."""


def to_tensor(name: str, array: npt.ArrayLike) -> Tensor:
    """Return the wire form of an array, or of numbers, strings or nested lists of them.

    Text becomes UTF-8. Object arrays may hold `str` and `bytes`; in an array of dtype `S`, numpy
    itself has dropped zero bytes at the ends.

    Raises:
        ValueError: the array has no wire form; the text says which element or dtype is to blame.
    """
    values = _as_array(name, array)
    if values.ndim > MAX_RANK:
        raise ValueError(f"tensor {name!r:.80} has {values.ndim} dimensions; at most {MAX_RANK}")
    if values.dtype.kind in "USTO":
        strings = tuple([_to_bytes(name, item) for item in values.ravel().tolist()])
        return Tensor(name=name, dtype=STRING, shape=values.shape, strings=strings)
    # numpy's `dtype.name` is slow; it is right for another byte order, too.
    dtype = _NAMES.get(values.dtype) or values.dtype.name
    wire = NUMPY_DTYPES.get(dtype)
    if wire is None:
        raise ValueError(
            f"tensor {name!r:.80} has dtype {values.dtype}; expected one of "
            f"{', '.join(NUMPY_DTYPES)} or strings"
        )
    data = values.astype(wire, copy=False).tobytes()
    return Tensor(name=name, dtype=dtype, shape=values.shape, data=data)


def _as_array(name: str, array: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the array itself, or what numpy makes of it."""
    try:
        return np.asarray(array)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"tensor {name!r:.80} is not an array: {error}") from error


def _to_bytes(name: str, item: object) -> bytes:
    """Return one string element as bytes."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        try:
            return item.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"tensor {name!r:.80} holds text that UTF-8 cannot carry") from error
    raise ValueError(
        f"tensor {name!r:.80} holds {type(item).__name__} objects; expected numbers, str or bytes"
    )


def from_tensor(tensor: Tensor) -> npt.NDArray[Any]:
    """Return the array of a wire tensor, read-only.

    Numbers are a view of the tensor's bytes. Strings are an object array of `bytes`.

    Shapes: the tensor's own.

    Raises:
        Undecodable: the dtype is unknown, or shape and bytes or strings do not belong together.
    """
    count = _count(tensor)
    if tensor.dtype == STRING:
        return _strings(tensor, count)
    dtype = NUMPY_DTYPES.get(tensor.dtype)
    if dtype is None:
        raise Undecodable(
            f"tensor {tensor.name!r:.80} has dtype {tensor.dtype!r:.40}; expected one of "
            f"{', '.join(NUMPY_DTYPES)} or {STRING}"
        )
    if tensor.strings:
        raise Undecodable(f"tensor {tensor.name!r:.80} of {tensor.dtype} carries strings")
    expected = count * dtype.itemsize
    if len(tensor.data) != expected:
        raise Undecodable(
            f"tensor {tensor.name!r:.80} has {len(tensor.data)} bytes of data; {tensor.dtype} "
            f"{list(tensor.shape)} takes {expected}"
        )
    if dtype.kind == "b" and tensor.data.translate(None, b"\x00\x01"):
        raise Undecodable(f"tensor {tensor.name!r:.80} of bool has a byte other than 0 and 1")
    return _shaped(np.frombuffer(tensor.data, dtype), tensor)


def _count(tensor: Tensor) -> int:
    """Return how many elements the shape has."""
    if len(tensor.shape) > MAX_RANK:
        raise Undecodable(
            f"tensor {tensor.name!r:.80} has {len(tensor.shape)} dimensions; at most {MAX_RANK}"
        )
    if any(size < 0 for size in tensor.shape):
        raise Undecodable(
            f"tensor {tensor.name!r:.80} has shape {list(tensor.shape)}; "
            "no dimension may be negative"
        )
    return math.prod(tensor.shape)


def _strings(tensor: Tensor, count: int) -> npt.NDArray[Any]:
    """Return the object array of a tensor of strings."""
    if tensor.data:
        raise Undecodable(
            f"tensor {tensor.name!r:.80} of {STRING} carries {len(tensor.data)} bytes"
        )
    if len(tensor.strings) != count:
        raise Undecodable(
            f"tensor {tensor.name!r:.80} has {len(tensor.strings)} strings; shape "
            f"{list(tensor.shape)} takes {count}"
        )
    flat = np.empty(count, dtype=object)
    flat[:] = tensor.strings
    flat.flags.writeable = False
    return _shaped(flat, tensor)


def _shaped(flat: npt.NDArray[Any], tensor: Tensor) -> npt.NDArray[Any]:
    """Give the elements their shape."""
    try:
        return flat.reshape(tuple(tensor.shape))
    except (ValueError, OverflowError) as error:
        # An empty tensor may have dimensions beside the zero that numpy cannot hold.
        raise Undecodable(
            f"tensor {tensor.name!r:.80} has shape {list(tensor.shape)}, too large for an array"
        ) from error
