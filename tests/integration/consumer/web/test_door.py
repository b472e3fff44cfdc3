"""The HTTP door, asked over a real port."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from headrace.consumer.core.errors import NodeError
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.web import HttpDoor, HttpOptions
from headrace.schemas.records import ServableState, ServableStatus

OPTIONS = HttpOptions(host="127.0.0.1", port=0)


@pytest.fixture
async def monitor() -> Monitor:
    """What the door says of models; it has met nothing yet."""
    return Monitor()


@pytest.fixture
async def readiness() -> Readiness:
    """Where in its life the node is: at the beginning."""
    return Readiness()


@pytest.fixture
async def client(
    monitor: Monitor, readiness: Readiness
) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """A client of the open door."""
    async with HttpDoor(ServingMap(), monitor, readiness, OPTIONS) as door:
        base = f"http://127.0.0.1:{door.port}"
        async with aiohttp.ClientSession(base) as session:
            yield session


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    """Return the status and the JSON that a path answers with."""
    async with client.get(path) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


def record(monitor: Monitor, version: int, state: ServableState, error: str | None = None) -> None:
    """Let a version of the model `m` reach a state."""
    monitor.record(
        ServableStatus(model="m", version=version, state=state, control_offset=1, error=error)
    )


def encoded(version: int, state: str, code: str = "OK", message: str = "") -> dict[str, Any]:
    """Return one version's status in TensorFlow Serving's JSON."""
    outcome = {"error_code": code, "error_message": message}
    return {"version": str(version), "state": state, "status": outcome}


@pytest.mark.parametrize("phase", Phase)
async def test_is_alive_whatever_it_is_busy_with(
    client: aiohttp.ClientSession, readiness: Readiness, phase: Phase
) -> None:
    """An orchestrator must not restart a node because it loads or drains."""
    readiness.enter(phase)
    assert await get(client, "/healthz") == (200, {"alive": True})


async def test_is_ready_when_the_node_is(
    client: aiohttp.ClientSession, readiness: Readiness
) -> None:
    """Readiness is one thing, whichever door is asked."""
    readiness.enter(Phase.READY)
    assert await get(client, "/readyz") == (200, {"ready": True})


@pytest.mark.parametrize("phase", [Phase.REPLAYING, Phase.LOADING, Phase.DRAINING])
async def test_says_what_it_is_busy_with_while_it_is_not_ready(
    client: aiohttp.ClientSession, readiness: Readiness, phase: Phase
) -> None:
    """Whoever waits can see why."""
    readiness.enter(phase)
    expected: dict[str, Any] = {
        "ready": False,
        "phase": phase.name.lower(),
        "unsettled": {},
    }
    assert await get(client, "/readyz") == (503, expected)


async def test_names_the_versions_that_readiness_waits_for(
    client: aiohttp.ClientSession, monitor: Monitor, readiness: Readiness
) -> None:
    """Versions on their way are listed, with what went wrong so far; settled ones are not."""
    readiness.enter(Phase.LOADING)
    record(monitor, 1, ServableState.AVAILABLE)
    record(monitor, 2, ServableState.END, "corrupt")
    record(monitor, 3, ServableState.LOADING)
    record(monitor, 4, ServableState.LOADING, "the store does not answer")
    record(monitor, 5, ServableState.START)
    _, body = await get(client, "/readyz")
    assert body["unsettled"] == {
        "m/3": "LOADING",
        "m/4": "the store does not answer",
        "m/5": "START",
    }


async def test_lists_every_version_highest_first(
    client: aiohttp.ClientSession, monitor: Monitor
) -> None:
    """The JSON is TensorFlow Serving's: numbers of 64 bits are strings."""
    record(monitor, 2, ServableState.AVAILABLE)
    record(monitor, 10, ServableState.LOADING)
    record(monitor, 1, ServableState.END, "corrupt")
    assert await get(client, "/v1/models/m") == (
        200,
        {
            "model_version_status": [
                encoded(10, "LOADING"),
                encoded(2, "AVAILABLE"),
                encoded(1, "END", "UNKNOWN", "corrupt"),
            ]
        },
    )


async def test_version_asked_for_is_the_only_one_listed(
    client: aiohttp.ClientSession, monitor: Monitor
) -> None:
    """A path with a version asks for that version."""
    record(monitor, 2, ServableState.AVAILABLE)
    record(monitor, 3, ServableState.AVAILABLE)
    assert await get(client, "/v1/models/m/versions/2") == (
        200,
        {"model_version_status": [encoded(2, "AVAILABLE")]},
    )


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v1/models/none", 404, "Could not find any versions of model none"),
        ("/v1/models/m/versions/9", 404, "Could not find version 9 of model m"),
        (
            f"/v1/models/m/versions/{2**63}",
            400,
            f"Malformed request: GET /v1/models/m/versions/{2**63}",
        ),
        (
            "/v1/models/m/versions/" + "9" * 5000,
            400,
            "Malformed request: GET /v1/models/m/versions/" + "9" * 5000,
        ),
        ("/v1/models/m/versions/x", 400, "Malformed request: GET /v1/models/m/versions/x"),
        ("/v1/models/m/versions/-1", 400, "Malformed request: GET /v1/models/m/versions/-1"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/nonsense", 400, "Malformed request: GET /v1/nonsense"),
        ("/", 404, "Not Found: GET /"),
        ("/metricz", 404, "Not Found: GET /metricz"),
    ],
)
async def test_path_that_leads_nowhere_says_so_in_json(
    client: aiohttp.ClientSession, monitor: Monitor, path: str, status: int, error: str
) -> None:
    """Every failure has the one key that clients of TensorFlow Serving look for."""
    record(monitor, 2, ServableState.AVAILABLE)
    assert await get(client, path) == (status, {"error": error})


async def test_wrong_verb_says_which_are_allowed(client: aiohttp.ClientSession) -> None:
    """A POST to a health check is a mistake with a name."""
    async with client.post("/readyz") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert await response.json() == {"error": "Method Not Allowed: POST /readyz"}


async def test_mistake_of_our_own_fails_one_request_without_a_traceback(
    readiness: Readiness,
) -> None:
    """A client learns that the node failed, not how it is built; the next request is answered."""

    class Broken(Monitor):
        """A monitor with a bug. **Concurrency:** event loop only."""

        def versions(self, model: str) -> list[ServableStatus]:
            raise RuntimeError(f"secret of {model}")

    async with (
        HttpDoor(ServingMap(), Broken(), readiness, OPTIONS) as door,
        aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as client,
    ):
        assert await get(client, "/v1/models/m") == (
            500,
            {"error": "the node failed: RuntimeError"},
        )
        assert await get(client, "/healthz") == (200, {"alive": True})


async def test_taken_port_is_a_reason_not_to_start(monitor: Monitor, readiness: Readiness) -> None:
    """The reason is one sentence, and nothing is left open."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(NodeError, match=f"HTTP port {port} is taken"):
            await HttpDoor(
                ServingMap(), monitor, readiness, replace(OPTIONS, port=port)
            ).__aenter__()


async def test_address_of_another_machine_is_refused(
    monitor: Monitor, readiness: Readiness
) -> None:
    """A host that is not ours is named, with the system's reason."""
    with pytest.raises(NodeError, match=r"cannot listen for HTTP on 192\.0\.2\.1:0: "):
        await HttpDoor(
            ServingMap(), monitor, readiness, replace(OPTIONS, host="192.0.2.1")
        ).__aenter__()


async def test_port_is_free_again_after_closing(monitor: Monitor, readiness: Readiness) -> None:
    """A node can be restarted at once."""
    async with HttpDoor(ServingMap(), monitor, readiness, OPTIONS) as first:
        port = first.port
    async with HttpDoor(ServingMap(), monitor, readiness, replace(OPTIONS, port=port)) as second:
        assert second.port == port


async def test_nodes_may_share_a_port_when_both_want_to(
    monitor: Monitor, readiness: Readiness
) -> None:
    """And not when only one does."""
    sharing = replace(OPTIONS, shares_port=True)
    async with HttpDoor(ServingMap(), monitor, readiness, sharing) as first:
        async with HttpDoor(
            ServingMap(), monitor, readiness, replace(sharing, port=first.port)
        ) as second:
            assert second.port == first.port
        with pytest.raises(NodeError, match=f"HTTP port {first.port} is taken"):
            await HttpDoor(
                ServingMap(), monitor, readiness, replace(OPTIONS, port=first.port)
            ).__aenter__()
