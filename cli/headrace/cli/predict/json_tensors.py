"""Tensors as JSON, both ways.

Numbers that JSON cannot write are strings (`"NaN"`, `"Infinity"`, `"-Infinity"`); bytes that are
not UTF-8 are objects (`{"b64": "…"}`).

Source: protobuf's JSON mapping for the numbers, TensorFlow Serving's REST API for the bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from headrace.publisher.errors import InvalidArgument
from headrace.publisher.inference import Inference

Array = npt.NDArray[Any]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Plain: TypeAlias = "bool | int | float | str | bytes | list[Plain]"
_OBJECT: Final = np.dtype(object)
_DEFAULTS: Final[dict[str, np.dtype[Any]]] = {
    "f": np.dtype(np.float32),
    "i": np.dtype(np.int64),
    "u": np.dtype(np.uint64),
}


def read_inputs(text: str) -> dict[str, Json]:
    """Return the inputs of a command line: JSON, `@file.json`, or `-` for standard input.

    Raises:
        InvalidArgument: no such file, no JSON, or no JSON object.
    """
    source, written = _source(text)
    try:
        inputs: Json = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{source} is not JSON ({error}): give an object of input names and values, for "
            "example '{\"x\": [1.0, 2.0, 5.0]}'"
        ) from error
    if not isinstance(inputs, dict):
        raise InvalidArgument(
            f"{source} is a JSON {_kind(inputs)}: give an object of input names and values, for "
            "example '{\"x\": [1.0, 2.0, 5.0]}'"
        )
    return inputs


def _source(text: str) -> tuple[str, str]:
    try:
        if text == "-":
            return "standard input", sys.stdin.read()
        if text.startswith("@"):
            return f"file {text[1:]}", Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read the inputs from {text!r}: {error}") from error
    return "--inputs", text


def to_array(name: str, value: Json, dtype: np.dtype[Any] | None = None) -> Array:
    """Return a JSON value as an array.

    Without `dtype`, numbers with a point become float32, whole ones int64, text a string tensor.

    Raises:
        InvalidArgument: the value is no tensor, or not one of `dtype`.
    """
    plain = _plain(name, value)
    if dtype == _OBJECT or (dtype is None and _has_text(plain)):
        return _strings(name, plain)
    try:
        array: Array = np.array(plain)
    except (ValueError, OverflowError) as error:
        raise _ragged(name) from error
    wanted = dtype or _DEFAULTS.get(array.dtype.kind) or array.dtype
    return array.astype(wanted) if array.size == 0 else _numbers(name, array, wanted)


def _numbers(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Return `array` as `dtype`, unless that would change what it says."""
    kind = "text" if array.dtype.kind in "US" else f"values like {array.flat[0]}"
    refusal = f"input {name!r} takes {dtype}: {kind} cannot be that without a change"
    if (dtype.kind == "b") != (array.dtype.kind == "b") or array.dtype == _OBJECT:
        raise InvalidArgument(refusal)
    try:
        with np.errstate(all="ignore"):
            numbers = array.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgument(refusal) from error
    if array.dtype.kind in "US":
        is_same = dtype.kind in "fc"
    elif dtype.kind in "iu":
        is_same = bool((numbers == array).all())
    else:
        is_same = bool((np.isfinite(numbers) == np.isfinite(array)).all())
    if not is_same:
        raise InvalidArgument(refusal)
    return numbers


def _strings(name: str, plain: Plain) -> Array:
    array = np.array(plain, dtype=object)
    flat = array.ravel()
    for index, item in enumerate(flat.tolist()):
        if isinstance(item, list):
            raise _ragged(name)
        if isinstance(item, str):
            flat[index] = _utf8(name, item)
        elif not isinstance(item, bytes):
            raise InvalidArgument(
                f"input {name!r} takes text, not {_kind(item)}s: write strings, or "
                '{"b64": "…"} for bytes'
            )
    return flat.reshape(array.shape)


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f'input {name!r} holds text that UTF-8 cannot carry: write its bytes as {{"b64": "…"}}'
        ) from error


def _has_text(plain: Plain) -> bool:
    if isinstance(plain, list):
        return any(_has_text(item) for item in plain)
    return isinstance(plain, str | bytes)


def _ragged(name: str) -> InvalidArgument:
    return InvalidArgument(f"input {name!r} is no tensor: its nested lists have different lengths")


def _plain(name: str, value: Json) -> Plain:
    """Return the value with `{"b64": …}` objects turned into bytes."""
    if isinstance(value, list):
        return [_plain(name, item) for item in value]
    if isinstance(value, dict):
        wrapped = value.get("b64")
        if len(value) == 1 and isinstance(wrapped, str):
            try:
                return base64.b64decode(wrapped, validate=True)
            except binascii.Error as error:
                raise InvalidArgument(f"input {name!r} has a bad base64 text: {error}") from error
    if value is None or isinstance(value, dict):
        raise InvalidArgument(
            f"input {name!r} holds a JSON {_kind(value)}: write numbers, strings, true and false, "
            'lists of them, or {"b64": "…"} for bytes'
        )
    return value


def to_json(array: Array) -> Json:
    """Return an array as a JSON value: nested lists, or the bare value of a scalar."""
    values = np.asarray(array)
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        # The shortest number that is this float32: 0.1, and not 0.10000000149011612.
        values = values.astype(str).astype(np.float64)
    return _jsonable(cast("object", values.tolist()))


def line(answer: Inference) -> str:
    """Return the answer as `headrace predict` prints it."""
    shown = {
        "outputs": {alias: to_json(answer.outputs[alias]) for alias in sorted(answer.outputs)},
        "model": answer.model,
        "version": answer.version,
        "routed_by": answer.routed_by,
        "arm": answer.arm,
        "plan_offset": answer.plan_offset,
    }
    return json.dumps(shown, ensure_ascii=False, allow_nan=False)


def _jsonable(value: object) -> Json:
    if isinstance(value, list):
        return [_jsonable(item) for item in cast("list[object]", value)]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, complex):
        return [_jsonable(value.real), _jsonable(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return cast("Json", value)


def _kind(value: object) -> str:
    kinds: dict[type, str] = {
        dict: "object",
        list: "list",
        str: "string",
        bool: "boolean",
        type(None): "null",
    }
    return kinds.get(type(value), "number")
