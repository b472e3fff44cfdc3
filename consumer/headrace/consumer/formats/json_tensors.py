"""JSON values and numpy arrays of a known dtype, each from the other.

Text is UTF-8; bytes are objects (`{"b64": "…"}`): always when read, and when written in outputs
whose alias ends in `_bytes`, or where the bytes are not UTF-8.

Source: tensorflow_serving/util/json_tensor.cc, 2.20.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import Any, Final, TypeAlias, cast

import numpy as np

from headrace.consumer.platforms.platform import Array

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_RANK: Final = 64
_BYTES_SUFFIX: Final = "_bytes"
_MANY: Final = 64
_ORDINARY: Final = 1e7
_MAX_DECIMALS: Final = 12
_FITTING: Final[dict[str, set[type]]] = {"b": {bool}, "i": {int}, "u": {int}}
_RAGGED: Final = "its nested lists have different lengths, so it is no tensor"


def is_bytes(value: Json) -> bool:
    """Return whether a JSON value is an object that stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def to_array(value: Json, dtype: np.dtype[Any]) -> Array:
    """Return a JSON value as an array of `dtype`. Strings are an object array of `bytes`.

    Whole numbers may stand for floats. Nothing else stands for another type.

    Raises:
        ValueError: the value is no tensor of that dtype; the text says why.
    """
    if dtype.kind == "O":
        return _strings(value)
    if dtype.kind == "c":
        raise ValueError(f"JSON has no values of {dtype}")
    # As objects, where numpy would make all elements as long as the longest text among them.
    found: Array = np.array(value, object)
    kinds = set(map(type, found.ravel().tolist()))
    if list in kinds:
        raise ValueError(_RAGGED)
    if not kinds <= _FITTING.get(dtype.kind, {int, float}):
        raise ValueError(f"expects {dtype.name}, and has {_named(kinds)}")
    try:
        return _numbers(found, kinds, dtype)
    except OverflowError as error:
        raise ValueError(f"a number is out of the range of {dtype.name}") from error


def _numbers(found: Array, kinds: set[type], dtype: np.dtype[Any]) -> Array:
    """Return Python's numbers as those of `dtype`; OverflowError when they do not fit."""
    if dtype.kind in "biu":
        return found.astype(dtype)
    exact = found
    if kinds == {int}:
        with contextlib.suppress(OverflowError):
            exact = found.astype(np.int64)
    if exact is found:
        exact = found.astype(np.float64)
    # A number past the largest float becomes infinite, as it does in TensorFlow Serving.
    with np.errstate(over="ignore"):
        return exact.astype(dtype)


def to_bytes(item: Json) -> bytes:
    """Return the bytes of a JSON string, or of an object that stands for bytes.

    Raises:
        ValueError: it is neither; the text says what it should be.
    """
    try:
        if isinstance(item, str):
            return item.encode()
        if is_bytes(item):
            return base64.b64decode(cast("dict[str, str]", item)["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"holds a b64 text that is not base64: {error}") from error
    raise ValueError('expects strings or {"b64": "…"}, and has something else')


def _strings(value: Json) -> Array:
    flat: list[Json] = []
    shape = _flatten(value, flat)
    array = np.empty(len(flat), object)
    for place, item in enumerate(flat):
        array[place] = to_bytes(item)
    return array.reshape(shape)


def _flatten(value: Json, flat: list[Json]) -> tuple[int, ...]:
    """Put all elements into `flat`, and return the shape that they have."""
    shape: list[int] = []

    def walk(part: Json, depth: int) -> None:
        if not isinstance(part, list):
            if depth != len(shape):
                raise ValueError(_RAGGED)
            flat.append(part)
            return
        if depth == len(shape) and not flat:
            shape.append(len(part))
        if depth >= len(shape) or shape[depth] != len(part):
            raise ValueError(_RAGGED)
        if depth > MAX_RANK:
            raise ValueError(f"it has more than {MAX_RANK} dimensions")
        for each in part:
            walk(each, depth + 1)

    walk(value, 0)
    return tuple(shape)


def to_json(alias: str, array: Array) -> Json:
    """Return an array as a JSON value: nested lists, or the bare value of a scalar.

    Raises:
        ValueError: JSON cannot carry its dtype.
    """
    kind = array.dtype.kind
    if kind == "O":
        flat = np.empty(array.size, object)
        is_binary = alias.endswith(_BYTES_SUFFIX)
        for place, item in enumerate(cast("list[bytes]", array.ravel().tolist())):
            flat[place] = _from_bytes(item, is_binary)
        return cast("Json", flat.reshape(array.shape).tolist())
    if kind in "biu" or array.dtype == np.float64:
        return cast("Json", array.tolist())
    if kind == "c" or array.dtype.itemsize > 4:
        raise ValueError(f"output {alias!r} has dtype {array.dtype}, which JSON cannot carry")
    flat = _shortest(array.astype(np.float32).ravel())
    return cast("Json", flat.reshape(array.shape).tolist())


def _shortest(flat: Array) -> Array:
    """Return float64s that are written with the fewest digits that tell the float32s apart.

    0.1 and not 0.10000000149011612. By way of text that takes 1 µs a number, by rounding to fewer
    and fewer decimals 0.03 µs, which is exact for numbers of ordinary size.
    """
    if flat.size < _MANY:
        return flat.astype(str).astype(np.float64)
    exact = flat.astype(np.float64)
    result = exact.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        fits = np.abs(exact) < _ORDINARY
        fits &= np.round(exact, _MAX_DECIMALS).astype(np.float32) == flat
        for decimals in range(_MAX_DECIMALS, -1, -1):
            rounded = np.round(exact, decimals)
            np.copyto(result, rounded, where=fits & (rounded.astype(np.float32) == flat))
    result[~fits] = flat[~fits].astype(str).astype(np.float64)
    return result


def _from_bytes(item: bytes, is_binary: bool) -> Json:
    if not is_binary:
        try:
            return item.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(item).decode()}


def _named(kinds: set[type]) -> str:
    if kinds == {bool}:
        return "true or false"
    if kinds == {int}:
        return "whole numbers"
    return "numbers" if kinds <= {int, float} else "something else"
