"""JSON documents as requests and answers carry them, NaN and Infinity included."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, TypeVar, cast

import msgspec

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.json_tensors import Json

T = TypeVar("T")

_NOT_PLAIN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec answers JSON with that is none, or that it is too strict for."""

_SURROGATE: Final = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def parsed(payload: bytes) -> dict[str, Json]:
    """Return the object that a body holds.

    Raises:
        UnreadableRequest: the bytes are no JSON object.
        InvalidRequest: they hold half a character.
    """
    try:
        body = cast("Json", msgspec.json.decode(payload))
    except _NOT_PLAIN:
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
    except _NOT_PLAIN:
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
        text = payload.decode()
        body = cast("Json", json.loads(text))
        if _SURROGATE.search(text):
            # Python takes half a pair for a character, and no answer could repeat it.
            json.dumps(body, ensure_ascii=False).encode()
        return body
    except UnicodeEncodeError as error:
        raise InvalidRequest("the request's JSON holds text that UTF-8 cannot carry") from error
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableRequest(f"not JSON: {detail}") from error
