"""JSON documents as requests and answers carry them, NaN and Infinity included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.json_tensors import Json

T = TypeVar("T")


def parsed(payload: bytes) -> dict[str, Json]:
    """Return the object that a body holds.

    Raises:
        UnreadableRequest: the bytes are no JSON object.
    """
    try:
        body = cast("Json", msgspec.json.decode(payload))
    except (msgspec.MsgspecError, RecursionError):
        body = _parsed_leniently(payload)
    if not isinstance(body, dict):
        raise UnreadableRequest("not a request: expected a JSON object")
    return body


def parsed_as(kind: type[T], payload: bytes) -> T:
    """Return a body as an object of `kind`, a msgspec structure.

    Raises:
        UnreadableRequest: the bytes are no JSON.
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


def signature_name(body: Mapping[str, Json]) -> str:
    """Return the signature that a body of TensorFlow Serving's names, or "".

    Raises:
        InvalidRequest: it is no text.
    """
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidRequest("'signature_name' must be a string")
    return name


def encoded(body: Mapping[str, Json]) -> bytes:
    """Return a body as bytes."""
    found = msgspec.json.encode(body)
    # msgspec writes a number that JSON has not as null, and nothing else here is one.
    return json.dumps(body).encode() if b"null" in found else found


def _parsed_leniently(payload: bytes) -> Json:
    """Return what a body with NaN, Infinity, or a number past all floats means."""
    try:
        # `bytes` would be taken for UTF-16 or UTF-32 as well.
        return cast("Json", json.loads(payload.decode()))
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableRequest(f"not JSON: {detail}") from error
