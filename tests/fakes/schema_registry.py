"""A small schema registry: the part of Confluent's REST API that clients use, as a program.

    python tests/fakes/schema_registry.py [--port N] [--user USER:PASSWORD] [--tls CERT KEY]

Prints `schema_registry.ready url=…` when it listens. `GET /asked` says what it was asked, so that
tests can count; schema 500 is an internal error. It keeps its schemas in memory.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import unquote

Json = Any
BROKEN_ID = 500


class Schemas:
    """The schemas by id, and the ids of each subject in the order of its versions."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ids = itertools.count(1)
        self._subjects: dict[str, list[int]] = {}
        self.by_id: dict[int, Json] = {}
        self.asked: list[str] = []

    def register(self, subject: str, schema: Json) -> Json:
        """Return the id of a schema, the same for the same schema."""
        with self._lock:
            known = [id_ for id_, each in self.by_id.items() if each == schema]
            id_ = known[0] if known else next(self._ids)
            self.by_id[id_] = schema
            versions = self._subjects.setdefault(subject, [])
            if id_ not in versions:
                versions.append(id_)
            return {"id": id_}

    def lookup(self, subject: str, schema: Json) -> Json:
        """Return a schema's registration under a subject, or None."""
        with self._lock:
            for version, id_ in enumerate(self._subjects.get(subject, ()), 1):
                if self.by_id[id_] == schema:
                    return self._registration(subject, version, id_)
        return None

    def latest(self, subject: str) -> Json:
        """Return the newest registration of a subject, or None."""
        with self._lock:
            ids = self._subjects.get(subject)
            return self._registration(subject, len(ids), ids[-1]) if ids else None

    def _registration(self, subject: str, version: int, id_: int) -> Json:
        return {"subject": subject, "version": version, "id": id_, **self.by_id[id_]}


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    schemas: Schemas
    authorization: str | None

    def do_GET(self) -> None:
        """Schemas by id, the latest of a subject, and what was asked."""
        match self._parts():
            case ["asked"]:
                self._send(200, self.schemas.asked)
            case ["schemas", "ids", id_] if int(id_) == BROKEN_ID:
                self._send(500, {"error_code": 50001, "message": "the store is broken"})
            case ["schemas", "ids", id_]:
                self._send_found(self.schemas.by_id.get(int(id_)))
            case ["subjects", subject, "versions", "latest"]:
                self._send_found(self.schemas.latest(subject))
            case _:
                self._send_found(None)

    def do_POST(self) -> None:
        """Register a schema, or look one up."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        schema = {key: body[key] for key in ("schema", "schemaType", "references") if body.get(key)}
        if schema.get("schemaType") == "AVRO":
            del schema["schemaType"]  # the real one leaves out what is the default
        match self._parts():
            case ["subjects", subject, "versions"]:
                self._send(200, self.schemas.register(subject, schema))
            case ["subjects", subject]:
                self._send_found(self.schemas.lookup(subject, schema))
            case _:
                self._send_found(None)

    def _parts(self) -> list[str]:
        if self.authorization not in (None, self.headers["Authorization"]):
            return ["unauthorized"]
        path = self.path.partition("?")[0].strip("/")
        if path != "asked":
            self.schemas.asked.append(f"{self.command} {unquote(path)}")
        return [unquote(part) for part in path.split("/")]

    def _send_found(self, body: Json) -> None:
        if self.authorization not in (None, self.headers["Authorization"]):
            self._send(401, {"error_code": 40101, "message": "Unauthorized"})
        elif body is None:
            self._send(404, {"error_code": 40403, "message": "Schema not found"})
        else:
            self._send(200, body)

    def _send(self, status: int, body: Json) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("--tls", nargs=2)
    arguments = parser.parse_args()
    Handler.schemas = Schemas()
    Handler.authorization = None
    if arguments.user:
        Handler.authorization = "Basic " + base64.b64encode(arguments.user.encode()).decode()
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        scheme = "http"
        if arguments.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*arguments.tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        url = f"{scheme}://127.0.0.1:{server.server_port}"
        print(f"schema_registry.ready url={url}", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main()
