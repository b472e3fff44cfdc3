"""The paths of TensorFlow Serving's REST API, below `/v1/`.

Matched as they were sent, and decoded after: a name may hold an encoded slash or colon.

Source: tensorflow_serving/model_servers/http_rest_api_util.cc, 2.20.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import unquote

from headrace.consumer.core.errors import InvalidRequest
from headrace.schemas.records import MAX_VERSION, Route

_WHICH: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS: Final = re.IGNORECASE | re.ASCII
_ASKED: Final = {
    "POST": re.compile(
        rf"/v1/models/(?P<model>[^/:]+){_WHICH}:(?P<what>predict|classify|regress)", _FLAGS
    ),
    "GET": re.compile(
        rf"/v1/models(?:/(?P<model>[^/:]+))?{_WHICH}(?:/(?P<what>metadata))?", _FLAGS
    ),
}
_MAX_DIGITS: Final = len(str(MAX_VERSION))


class What(StrEnum):
    """What a path asks for."""

    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"
    METADATA = "metadata"
    STATUS = "status"


class Asked(NamedTuple):
    """What a request's verb and path ask, and of which version."""

    what: What
    route: Route


def read_path(verb: str, path: str) -> Asked:
    """Return what a request asks for.

    Args:
        verb: the request's method; HEAD asks what GET asks.
        path: as it was sent, without the query.

    Raises:
        InvalidRequest: the API has no such path, or the path no model.
    """
    verb = "GET" if verb == "HEAD" else verb
    pattern = _ASKED.get(verb)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        raise _malformed(verb, path)
    model, label, digits = found["model"], found["label"], found["version"]
    if not model:
        raise InvalidRequest("Missing model name in request.")
    version = None
    if digits is not None:
        digits = digits.lstrip("0") or "0"
        version = int(digits) if len(digits) <= _MAX_DIGITS else MAX_VERSION + 1
        if version > MAX_VERSION:
            raise _malformed(verb, path)
    what = What((found["what"] or What.STATUS).lower())
    return Asked(what, Route(unquote(model), version=version, label=label and unquote(label)))


def _malformed(verb: str, path: str) -> InvalidRequest:
    return InvalidRequest(f"Malformed request: {verb} {path}")
