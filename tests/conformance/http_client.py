"""Plain HTTP, by the standard library: paths and bodies go out as they are given."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.conformance.node import Doors

TIMEOUT_SECONDS = 30.0


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body, with NaN and the infinities as Python reads them."""
        return json.loads(self.text)

    @property
    def error(self) -> str:
        """The message of an error, which has the one form that there is."""
        assert self.headers["content-type"].startswith("application/json")
        body = self.json
        assert list(body) == ["error"]
        return str(body["error"])


class Rest:
    """A client of one node; a connection for each request."""

    def __init__(self, doors: Doors) -> None:
        self._port = doors.http_port

    def ask(
        self,
        verb: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(verb, path, body, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read().decode())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        """GET below /v1."""
        return self.ask("GET", f"/v1{path}")

    def post(self, path: str, body: object) -> Reply:
        """POST below /v1: text as it is, anything else as JSON."""
        text = body if isinstance(body, str) else json.dumps(body)
        return self.ask("POST", f"/v1{path}", text.encode())
