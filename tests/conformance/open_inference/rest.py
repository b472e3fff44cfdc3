"""Plain HTTP, and what the bodies of Open Inference are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from typing import Any, NamedTuple

JSON_LENGTH = "Inference-Header-Content-Length"


class Answer(NamedTuple):
    """Status, headers in small letters, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body read as JSON."""
        return json.loads(self.body)


class Rest:
    """A connection to a node."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(
        self, verb: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a body of bytes, or of what JSON has, and return the answer."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self._connection.request(verb, path, sent, dict(headers or {}))
        reply = self._connection.getresponse()
        found = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, found, reply.read())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


Ask = Callable[..., Answer]


def tensor(name: str, datatype: str, shape: list[int], data: object) -> dict[str, object]:
    """Return an input."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
