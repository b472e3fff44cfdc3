"""HTTP requests that ask as of a control record, on every path that asks a version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp
import pytest

from headrace.consumer.core.errors import QueueFull, WorkerDied
from headrace.consumer.core.readiness import Phase
from headrace.schemas.records import ModelConfig
from tests.fakes.planned import plan
from tests.fakes.servable import FakeServable, planned_version
from tests.integration.consumer.web.rig import Reply, Rig, ask, client_of, ready_rig

INFER = b'{"inputs": []}'
PATHS = [
    ("POST", "/v1/models/m:predict"),
    ("POST", "/v1/models/m:classify"),
    ("POST", "/v1/models/m:regress"),
    ("GET", "/v1/models/m/metadata"),
    ("POST", "/v2/models/m/infer"),
    ("GET", "/v2/models/m"),
    ("GET", "/v2/models/m/ready"),
]


def version(number: int) -> FakeServable:
    """Return a version that the control record at 100 + its number brought."""
    servable = FakeServable(planned_version("m", number, control_offset=100 + number))
    servable.answer_all(b"[1, 2]")
    return servable


@pytest.fixture
async def rig() -> Rig:
    """A node at control offset 103, which brought version 3."""
    rig = ready_rig()
    plan(rig.serving_map, 103, version(3))
    return rig


@pytest.fixture
async def client(rig: Rig) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of the open door."""
    async with rig.open() as door, client_of(door) as client:
        yield client


async def asked(
    client: aiohttp.ClientSession, verb: str, path: str, offset: object, **headers: str
) -> Reply:
    """Ask a path as of a control record."""
    body = INFER if verb == "POST" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(client, verb, path, body, {"min-control-offset": str(offset)} | named)


@pytest.mark.parametrize(("verb", "path"), PATHS)
async def test_waits_for_the_record_and_the_version(
    rig: Rig, client: aiohttp.ClientSession, verb: str, path: str
) -> None:
    """The answer comes from the version that the record brought, and says so."""
    late = asyncio.ensure_future(asked(client, verb, path, 104))
    met = await asked(client, verb, path, 103)
    assert (met.status, met.headers["headrace-version"]) == (200, "3")
    assert not late.done()
    plan(rig.serving_map, 104, version(4))
    reply = await late
    assert (reply.status, reply.headers["headrace-version"]) == (200, "4")
    assert reply.headers["headrace-plan-offset"] == "104"
    assert reply.headers["headrace-routed-by"] == "latest"


@pytest.mark.parametrize(("verb", "path"), PATHS)
async def test_gives_up_at_the_deadline(
    client: aiohttp.ClientSession, verb: str, path: str
) -> None:
    """503, and why."""
    reply = await asked(client, verb, path, 104, x_request_timeout_ms="300")
    assert reply.status == 503
    assert "wants control offset 104 or later" in reply.body["error"]


@pytest.mark.parametrize(("verb", "path"), PATHS)
@pytest.mark.parametrize("offset", ["-1", "soon", "9" * 30])
async def test_refuses_what_is_no_offset(
    client: aiohttp.ClientSession, verb: str, path: str, offset: str
) -> None:
    """At once, and in words."""
    reply = await asked(client, verb, path, offset)
    assert reply.status == 400
    assert "min-control-offset is" in reply.body["error"]


async def test_a_node_that_stops_waits_no_longer(rig: Rig, client: aiohttp.ClientSession) -> None:
    """The request is free to go to another node at once."""
    late = asyncio.ensure_future(asked(client, "POST", "/v1/models/m:predict", 104))
    await asked(client, "POST", "/v1/models/m:predict", 103)
    rig.readiness.enter(Phase.DRAINING)
    async with asyncio.timeout(10):
        reply = await late
    assert (reply.status, reply.body["error"]) == (503, "the node is not ready: it is draining")


@pytest.mark.parametrize("path", ["/v1/models/m:predict", "/v2/models/m/infer"])
async def test_a_loop_of_aliases_is_named(
    rig: Rig, client: aiohttp.ClientSession, path: str
) -> None:
    """400, with the way that leads back, and no version to come from."""
    rig.serving_map.model("m").configure(ModelConfig(model="m", split={"other": 1}))
    rig.serving_map.model("other").configure(ModelConfig(model="other", split={"m": 1}))
    rig.serving_map.note_change(104)
    reply = await asked(client, "POST", path, 0)
    assert reply.status == 400
    assert "m → other → m" in reply.body["error"]
    assert "headrace-version" not in reply.headers


@pytest.mark.parametrize(
    ("error", "status"), [(QueueFull("full"), 429), (WorkerDied("died twice"), 503)]
)
async def test_a_refusal_of_a_version_says_where_it_comes_from(
    rig: Rig, client: aiohttp.ClientSession, error: Exception, status: int
) -> None:
    """Also one that it raises instead of answering."""
    broken = version(5)
    broken.raise_all(error)
    plan(rig.serving_map, 105, broken)
    reply = await asked(client, "POST", "/v1/models/m:predict", 105)
    assert (reply.status, reply.body) == (status, {"error": str(error)})
    assert reply.headers["headrace-version"] == "5"
    assert ("Retry-After" in reply.headers) == (status == 429)
