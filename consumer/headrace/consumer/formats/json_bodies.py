"""Whole JSON bodies: parsed and written, with the numbers that JSON by the letter has not.

`NaN`, `Infinity` and `-Infinity` stand bare, as TensorFlow Serving and Triton have them.
"""

from __future__ import annotations

import json
from typing import TypeVar, cast

import msgspec

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.json_tensors import Json

T = TypeVar("T")


def parsed(payload: bytes) -> Json:
    """Return what a body means.

    Raises:
        UnreadableRequest: it is not JSON.
    """
    try:
        return cast("Json", msgspec.json.decode(payload))
    except (msgspec.MsgspecError, RecursionError):
        return _parsed_leniently(payload)


def parsed_as(kind: type[T], payload: bytes) -> T:
    """Return a body as an object of `kind`, a msgspec structure.

    Raises:
        UnreadableRequest: it is not JSON.
        InvalidRequest: it is JSON of another form; the text says where.
    """
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        body = _parsed_leniently(payload)
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the request's JSON has another form: {error}") from error


def encoded(body: dict[str, Json]) -> bytes:
    """Return a body that holds no null as JSON."""
    written = msgspec.json.encode(body)
    # msgspec writes a number that JSON has not as null, and nothing else here is one.
    return json.dumps(body).encode() if b"null" in written else written


def _parsed_leniently(payload: bytes) -> Json:
    """Return what a body with NaN, Infinity, or a number past all floats means."""
    try:
        # `bytes` would be taken for UTF-16 or UTF-32 as well.
        return cast("Json", json.loads(payload.decode()))
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableRequest(f"not JSON: {detail}") from error
