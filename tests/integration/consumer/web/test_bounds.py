"""What the HTTP door does with clients that ask too much, too slowly, or go away."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from http.client import HTTPConnection

import aiohttp
import pytest

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.readiness import Phase
from headrace.consumer.web import HttpDoor
from headrace.schemas.records import ModelConfig
from tests.fakes.servable import FakeServable
from tests.integration.consumer.web.rig import (
    OPTIONS,
    Rig,
    ask,
    client_of,
    get,
    post,
    ready_rig,
)

PREDICT = "/v1/models/m:predict"
OK = {"predictions": [2.5]}
# Long enough for the parts that a test does not make slow.
PATIENCE_SECONDS = 20.0
LARGE = 30_000_000


@pytest.fixture
async def rig() -> Rig:
    """The parts behind the door of a node that is ready."""
    return ready_rig()


@pytest.fixture
async def client(rig: Rig) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of the open door of `rig`."""
    async with rig.open() as door, client_of(door) as client:
        yield client


async def pieces(count: int, size: int) -> AsyncGenerator[bytes]:
    """Yield a body whose length no header says."""
    for _ in range(count):
        yield b" " * size


@asynccontextmanager
async def sent(door: HttpDoor, data: bytes) -> AsyncGenerator[asyncio.StreamReader]:
    """Open a connection that speaks HTTP as a test makes it, with a bound of time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        try:
            writer.write(data)
            yield reader
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def request(body: bytes, *, length: int) -> bytes:
    """Return a POST that says how long its body is, rightly or not."""
    return f"POST {PREDICT} HTTP/1.1\r\nHost: m\r\nContent-Length: {length}\r\n\r\n".encode() + body


async def drained(reader: asyncio.StreamReader) -> int:
    """Return how many bytes came before the connection ended."""
    count = 0
    with suppress(ConnectionResetError):
        while piece := await reader.read(1_000_000):
            count += len(piece)
    return count


@pytest.mark.parametrize("path", [PREDICT, "/v2/models/m/infer", "/v2/repository/index"])
async def test_body_that_is_too_large_is_refused(path: str) -> None:
    """By its header, or once more has come than may; the connection can be used again."""
    rig = ready_rig(replace(OPTIONS, max_body_bytes=1000))
    servable = rig.serve("m", 1)
    bodies = (b" " * 1001, pieces(20, 1000), pieces(1, 1001))
    async with rig.open() as door, client_of(door) as client:
        for body in bodies:
            reply = await ask(client, "POST", path, body)
            assert reply.status == 413
            assert "larger than 1000 bytes" in reply.body["error"]
        assert servable.calls == []
        assert (await post(client, PREDICT, b" " * 1000)).body == OK


async def test_large_body_that_is_refused_still_gets_its_answer() -> None:
    """Also where its sender reads no answer before all is sent."""
    rig = ready_rig(replace(OPTIONS, max_body_bytes=1000))

    def status_of_large_body(port: int) -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        with closing(connection):
            connection.request("POST", PREDICT, bytes(LARGE))
            return connection.getresponse().status

    async with rig.open() as door:
        assert await asyncio.to_thread(status_of_large_body, door.port) == 413


async def test_body_that_grows_too_large_when_decompressed_is_refused() -> None:
    """Before all of it is decompressed."""
    rig = ready_rig(replace(OPTIONS, max_body_bytes=100_000))
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    async with rig.open() as door, client_of(door) as client:
        assert (await post(client, PREDICT, bomb, {"Content-Encoding": "gzip"})).status == 413


async def test_body_that_does_not_come_is_refused_in_time() -> None:
    """Its place is free again, and the connection ends."""
    rig = ready_rig(replace(OPTIONS, transfer_timeout_seconds=0.2, max_requests=1))
    rig.serve("m", 1)
    async with rig.open() as door, client_of(door) as client:
        async with sent(door, request(b"{", length=5)) as reader:
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b'{"error": "the body was not there within 0.2 s"}' in answer
        assert (await post(client, PREDICT, {})).body == OK


async def test_client_that_takes_no_answer_loses_its_connection() -> None:
    """And with it the memory of the answer, and its place."""
    rig = ready_rig(replace(OPTIONS, transfer_timeout_seconds=0.2, max_requests=1))
    servable = rig.serve("m", 1)
    servable.answer_all(b" " * LARGE)
    async with (
        rig.open() as door,
        client_of(door) as client,
        sent(door, request(b"{}", length=2)) as reader,
    ):
        await reader.readexactly(1)
        servable.answer_all(b"{}")
        while (await post(client, PREDICT, {})).status == 429:
            await asyncio.sleep(0.05)
        assert await drained(reader) < LARGE


@pytest.mark.parametrize(
    "data", [b"", b"POST /v1/models/m:pre", b"GET /healthz HTTP/1.1\r\nHost: m\r\n"]
)
async def test_connection_without_a_whole_request_ends(data: bytes) -> None:
    """Headers that never end hold a connection no longer than silence does."""
    rig = ready_rig(replace(OPTIONS, idle_timeout_seconds=0.2))
    async with rig.open() as door, sent(door, data) as reader:
        assert await reader.read() == b""


async def test_connection_that_is_kept_open_ends_when_it_stays_unused() -> None:
    """After its answer."""
    rig = ready_rig(replace(OPTIONS, idle_timeout_seconds=0.2))
    async with (
        rig.open() as door,
        sent(door, b"GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n") as reader,
    ):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_full_queue_is_told_at_once(client: aiohttp.ClientSession, rig: Rig) -> None:
    """With when to come back."""
    servable = rig.serve("m", 1, max_inside=1)
    servable.hold()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(post(client, PREDICT, {}))
        await asyncio.wait_for(servable.wait_inside(1), PATIENCE_SECONDS)
        refused = await post(client, PREDICT, {})
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert refused.body == {"error": "the queue of m is full"}
        await servable.release()
    assert first.result().body == OK


async def test_more_requests_than_may_be_inside_are_refused_at_once() -> None:
    """Whatever they ask of which model; health checks are answered all the same."""
    rig = ready_rig(replace(OPTIONS, max_requests=2))
    servable = rig.serve("m", 1)
    rig.serve("other", 1)
    servable.hold()
    async with rig.open() as door, client_of(door) as client, asyncio.TaskGroup() as tasks:
        inside = [tasks.create_task(post(client, PREDICT, {})) for _ in range(2)]
        await asyncio.wait_for(servable.wait_inside(2), PATIENCE_SECONDS)
        for path in ("/v1/models/other:predict", "/v2/models/other/infer"):
            refused = await post(client, path, {})
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            assert "2 requests are inside" in refused.body["error"]
        assert (await get(client, "/readyz")).status == 200
        await servable.release()
        assert [(await each).body for each in inside] == [OK, OK]
        assert (await post(client, "/v1/models/other:predict", {})).body == OK


async def test_bodies_of_all_requests_are_bounded_together() -> None:
    """One that has no room is refused, and fits when the others are answered."""
    rig = ready_rig(replace(OPTIONS, max_in_flight_bytes=15_000))
    servable = rig.serve("m", 1)
    servable.hold()
    async with rig.open() as door, client_of(door) as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(post(client, PREDICT, b" " * 10_000))
        await asyncio.wait_for(servable.wait_inside(1), PATIENCE_SECONDS)
        refused = await post(client, PREDICT, b" " * 10_000)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert "hold as many bytes" in refused.body["error"]
        await servable.release()
        assert (await first).body == OK
        assert (await post(client, PREDICT, b" " * 10_000)).body == OK


async def test_client_that_hangs_up_takes_its_request_with_it(
    client: aiohttp.ClientSession, rig: Rig
) -> None:
    """It leaves the queue of its version, and gives its loan back."""
    servable = rig.serve("m", 1)
    servable.hold()
    call = asyncio.create_task(post(client, PREDICT, {}))
    await asyncio.wait_for(servable.wait_inside(1), PATIENCE_SECONDS)
    call.cancel()
    await asyncio.wait_for(servable.wait_inside(0), PATIENCE_SECONDS)
    assert servable.cancelled == 1
    routes = rig.serving_map.model("m")
    await asyncio.wait_for(routes.serving[1].wait_idle(), PATIENCE_SECONDS)


@pytest.mark.parametrize("phase", [Phase.REPLAYING, Phase.LOADING, Phase.DRAINING])
async def test_node_that_is_not_ready_says_so(phase: Phase) -> None:
    """503 by every path that asks a version."""
    rig = Rig()
    rig.serve("m", 1)
    rig.readiness.enter(phase)
    expected = {"error": f"the node is not ready: it is {phase.name.lower()}"}
    async with rig.open() as door, client_of(door) as client:
        for path in (PREDICT, "/v2/models/m/infer"):
            reply = await post(client, path, {})
            assert (reply.status, reply.body) == (503, expected)
        for path in ("/v1/models/m/metadata", "/v2/models/m", "/v2/models/m/ready"):
            reply = await get(client, path)
            assert (reply.status, reply.body) == (503, expected)
        assert (await get(client, "/v2/health/ready")).status == 503
        assert (await get(client, "/v1/models/m")).status == 200


async def test_requests_inside_are_answered_before_the_door_closes(rig: Rig) -> None:
    """What comes meanwhile is refused; health checks are still answered."""
    servable = rig.serve("m", 1)
    servable.hold()
    async with rig.open() as door, client_of(door) as client, asyncio.TaskGroup() as tasks:
        inside = tasks.create_task(post(client, PREDICT, {}))
        await asyncio.wait_for(servable.wait_inside(1), PATIENCE_SECONDS)
        rig.readiness.enter(Phase.DRAINING)
        async with door.answering():
            released = tasks.create_task(_release_when_refused(client, servable))
        assert released.done()
        assert (await inside).body == OK


async def _release_when_refused(client: aiohttp.ClientSession, servable: FakeServable) -> None:
    assert (await post(client, PREDICT, {})).status == 503
    assert (await get(client, "/healthz")).status == 200
    await servable.release()


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 30.0), ("500", 0.5), ("1000000", 30.0), ("1", 0.001)]
)
async def test_deadline_is_the_clients_or_the_default_whichever_is_nearer(
    client: aiohttp.ClientSession, rig: Rig, text: str | None, seconds: float
) -> None:
    """It goes with the request to its version."""
    servable = rig.serve("m", 1)
    headers = {} if text is None else {"x-request-timeout-ms": text}
    before = time.monotonic()
    await post(client, PREDICT, {}, headers)
    [deadline] = servable.deadlines_seconds
    assert before + seconds <= deadline <= time.monotonic() + seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1s", "9" * 13, "²"])
async def test_deadline_that_is_no_number_is_refused(
    client: aiohttp.ClientSession, rig: Rig, text: str
) -> None:
    """And not taken for the default."""
    servable = rig.serve("m", 1)
    reply = await post(client, PREDICT, {}, {"x-request-timeout-ms": text})
    assert reply.status == 400
    assert "x-request-timeout-ms" in reply.body["error"]
    assert servable.calls == []


async def test_affinity_keeps_a_caller_on_one_arm_of_a_split(
    client: aiohttp.ClientSession, rig: Rig
) -> None:
    """The same header always meets the same version; different ones meet both."""
    rig.serve("m", 1)
    rig.serve("m", 2)
    rig.serving_map.model("m").configure(ModelConfig(model="m", split={"1": 50, "2": 50}))
    met: dict[str, set[str]] = {}
    for caller in [f"user-{number}" for number in range(20)] * 3:
        reply = await post(client, PREDICT, {}, {"affinity": caller})
        met.setdefault(caller, set()).add(reply.headers["headrace-version"])
    assert {len(versions) for versions in met.values()} == {1}
    assert {version for versions in met.values() for version in versions} == {"1", "2"}


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_fault_of_a_version_is_answered_in_its_words(
    client: aiohttp.ClientSession, rig: Rig, code: Code
) -> None:
    """Of any length and in any letters."""
    words = "ü" * 5000
    rig.serve("m", 1).answer_all(Fault(code, words))
    reply = await post(client, PREDICT, {})
    assert 400 <= reply.status < 600
    assert reply.body == {"error": words}
    assert reply.headers["headrace-version"] == "1"


async def test_browsers_may_read_answers_only_where_the_node_says_so(
    client: aiohttp.ClientSession, rig: Rig
) -> None:
    """Errors, too; without the setting no header says anything."""
    allowed = ready_rig(replace(OPTIONS, cors_origin="*"))
    header = "Access-Control-Allow-Origin"
    origin = {"Origin": "https://page.example"}
    async with allowed.open() as door, client_of(door) as browser:
        for reply in (
            await ask(browser, "OPTIONS", PREDICT, headers=origin),
            await post(browser, PREDICT, {}),
        ):
            assert reply.headers[header] == "*"
            assert reply.headers["Access-Control-Allow-Methods"] == "POST, GET"
        assert (await ask(browser, "OPTIONS", PREDICT, headers=origin)).status == 200
        assert (await ask(browser, "OPTIONS", PREDICT)).status == 400
    reply = await ask(client, "OPTIONS", PREDICT, headers=origin)
    assert header not in reply.headers
