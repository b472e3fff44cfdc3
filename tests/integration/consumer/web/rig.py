"""An HTTP door over servables of a test's choice, with a client of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiohttp
from yarl import URL

from headrace.consumer.core.choice import Serving
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.core.repository import Repository
from headrace.consumer.core.servable import Servable
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.web import HttpDoor, HttpOptions
from headrace.schemas.records import ServableState, ServableStatus
from tests.fakes.servable import FakeServable, planned_version

OPTIONS: Final = HttpOptions(host="127.0.0.1", port=0, node="node-1", drain_seconds=5)


class Reply(NamedTuple):
    """What came back: `body` is the JSON, or the bytes of what is none."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass
class Rig:
    """What a test of the door holds in its hands.

    **Concurrency:** event loop only.
    """

    options: HttpOptions = OPTIONS
    repository: Repository | None = None
    serving_map: ServingMap = field(default_factory=ServingMap)
    monitor: Monitor = field(default_factory=Monitor)
    readiness: Readiness = field(default_factory=Readiness)

    def add(self, planned: PlannedVersion, servable: Servable) -> None:
        """Make a version AVAILABLE."""
        model, version = planned.record.model, planned.record.version
        routes = self.serving_map.model(model)
        routes.serving[version] = Serving(planned, servable)
        routes.wanted |= {version}
        self.monitor.record(
            ServableStatus(
                model=model,
                version=version,
                state=ServableState.AVAILABLE,
                control_offset=planned.control_offset,
            )
        )

    def serve(self, model: str, version: int, *, max_inside: int = 1_000_000) -> FakeServable:
        """Make a version without a worker AVAILABLE; it answers `{"predictions": [2.5]}`."""
        planned = planned_version(model, version, control_offset=100 + version)
        servable = FakeServable(planned, max_inside=max_inside)
        servable.answer_all(b'{"predictions": [2.5]}')
        self.add(planned, servable)
        return servable

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[HttpDoor]:
        """Open the door."""
        door = HttpDoor(
            self.serving_map, self.monitor, self.readiness, self.options, self.repository
        )
        async with door, door.answering():
            yield door


def ready_rig(options: HttpOptions = OPTIONS, repository: Repository | None = None) -> Rig:
    """Return a rig whose node is ready."""
    rig = Rig(options, repository)
    rig.readiness.enter(Phase.READY)
    return rig


@asynccontextmanager
async def client_of(door: HttpDoor) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open a client of a door."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as session:
        yield session


async def ask(
    client: aiohttp.ClientSession,
    verb: str,
    path: str,
    body: bytes | AsyncIterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a request, its path as it is written here, and return what comes back."""
    url = URL(path, encoded=True)
    async with client.request(verb, url, data=body, headers=headers) as response:
        is_json = response.content_type == "application/json"
        body = await response.json() if is_json else await response.read()
        return Reply(response.status, body, dict(response.headers))


async def post(
    client: aiohttp.ClientSession,
    path: str,
    body: object,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send JSON, or bytes as they are, and return what comes back."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await ask(client, "POST", path, data, headers)


async def get(client: aiohttp.ClientSession, path: str) -> Reply:
    """Ask a path and return what comes back."""
    return await ask(client, "GET", path)
