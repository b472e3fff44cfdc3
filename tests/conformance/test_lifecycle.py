"""facts/tfserving.md 3.3, GetModelStatus, and the rows of 3.1 about versions on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

import grpc
import pytest

from headrace.schemas import codec
from headrace.schemas.records import ModelConfig, PolicyKind, VersionPolicy, config_key
from tests.conformance.http_client import Rest
from tests.conformance.node import Doors, running_node
from tests.conformance.tensorflow_serving import (
    STYLES,
    TIMEOUT_SECONDS,
    Client,
    Refusal,
    predict_request,
    spec,
)
from tests.e2e.rig import Site
from tests.models import model

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
MAX_QUEUE_CALLS = 2


class Changing(NamedTuple):
    """A node whose versions are in every state, and its clients."""

    site: Site
    doors: Doors
    client: Client
    rest: Rest


async def _settle(site: Site) -> None:
    """Bring about versions that serve, that failed, and that ended."""
    async with site.publisher() as publisher:
        for style, built in zip(STYLES, ("half_plus_two_tf1", "half_plus_two"), strict=True):
            name = f"m_{style}"
            labels = {"stable": 1, "next": 2, "gone": 4}
            policy = VersionPolicy(kind=PolicyKind.ALL)
            # A publisher refuses labels of versions that are not there; a log may hold them.
            config = ModelConfig(model=name, policy=policy, labels=labels)
            await site.write_control((config_key(name), codec.encode(config)))
            for version in (1, 4):
                await publisher.publish(name, version, model(built), wait="fleet")
            await publisher.retire(name, 4, force=True, wait="fleet")
        for version, built in ((1, "half_plus_two"), (2, "badly_warmed")):
            await publisher.publish("broken", version, model(built), allow_incompatible=True)
        for name in ("busy", "crowded"):
            await publisher.publish(name, 1, model("sleepy"), wait="fleet")


async def _stall(site: Site, doors: Doors) -> None:
    """Bring about versions that load for ever, and those that wait behind."""
    async with site.publisher() as publisher:
        await publisher.publish("m_tf1", 2, model("stalled"), allow_incompatible=True)
        doors.log.event("version.load_begun", model="m_tf1", version=2)
        await publisher.publish("m_tf2", 2, model("stalled"), allow_incompatible=True)
        doors.log.event("version.load_begun", model="m_tf2", version=2)
        await publisher.publish("m_tf1", 3, model("half_plus_two"), allow_incompatible=True)
        doors.log.event("version.accepted", model="m_tf1", version=3)
        await publisher.publish("first", 1, model("half_plus_two"))
        doors.log.event("version.accepted", model="first", version=1)


@pytest.fixture(scope="module")
def changing(own_site: Site) -> Iterator[Changing]:
    """A node with versions in every state but UNLOADING."""
    bounds: dict[str, Any] = {
        "load_attempts": 1,
        "load_slots": 2,
        "max_queue_calls": MAX_QUEUE_CALLS,
    }
    with running_node(own_site, **bounds) as doors:
        asyncio.run(_settle(own_site))
        doors.log.event("version.ended", model="broken", version=2)
        asyncio.run(_stall(own_site, doors))
        with grpc.insecure_channel(doors.grpc) as channel:
            yield Changing(own_site, doors, Client(channel), Rest(doors))


def states(client: Client, name: str, **choice: Any) -> dict[int, int]:  # noqa: ANN401 - version or label
    """Return the states by version, in the order in which they are listed."""
    return {each.version: int(each.state) for each in client.status(spec(name, **choice))}


def test_status_lists_all_versions_newest_first(changing: Changing) -> None:
    """'else all versions newest-first'; 'Shows END/failed versions'; the public numbers."""
    found = states(changing.client, "m_tf1")
    assert list(found.items()) == [(4, END), (3, START), (2, LOADING), (1, AVAILABLE)]


def test_status_of_one_version(changing: Changing) -> None:
    """'with version → that one or NOT_FOUND "could not find version"'."""
    assert states(changing.client, "m_tf1", version={"value": 2}) == {2: LOADING}
    with pytest.raises(Refusal, match=r"NOT_FOUND: Could not find version 9 of model m_tf1"):
        changing.client.status(spec("m_tf1", version={"value": 9}))


def test_status_ignores_a_label(changing: Changing) -> None:
    """'A **label is silently ignored** (returns all)'."""
    assert len(states(changing.client, "m_tf1", version_label="stable")) == 4


def test_status_wants_a_model(changing: Changing) -> None:
    """'model_spec missing → INVALID_ARGUMENT'; 'or NOT_FOUND "could not find any versions"'."""
    with pytest.raises(Refusal, match="INVALID_ARGUMENT: Missing ModelSpec"):
        changing.client.status(None)
    with pytest.raises(Refusal, match="NOT_FOUND: Could not find any versions of model none"):
        changing.client.status(spec("none"))


def test_status_says_why_a_version_failed(changing: Changing) -> None:
    """1: 'END = clean unload (status OK) or failure … with the error in `status`'."""
    failed, serving = changing.client.status(spec("broken"))
    assert (failed.version, failed.state) == (2, END)
    assert failed.status.error_code
    assert "warm" in failed.status.error_message
    assert (serving.version, serving.state, serving.status.error_code) == (1, AVAILABLE, 0)
    clean = changing.client.status(spec("m_tf1", version={"value": 4}))[0]
    assert (clean.status.error_code, clean.status.error_message) == (0, "")
    shown = changing.rest.get("/models/broken").json["model_version_status"]
    assert shown[0]["state"] == "END"
    assert shown[0]["status"]["error_message"] == failed.status.error_message
    assert shown[0]["status"]["error_code"] != "OK"


def test_version_before_a_failed_one_goes_on(changing: Changing) -> None:
    """1: 'v1 stays if v2 fails'."""
    answer = changing.client.predict(spec("broken"), {"x": [[1.0]]})
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize("style", STYLES)
def test_version_that_loads_is_unavailable(changing: Changing, style: str) -> None:
    """'version not ready → NOT_FOUND'.

    Differs from TensorFlow Serving: UNAVAILABLE (503), which clients try again.
    """
    with pytest.raises(Refusal, match=f"UNAVAILABLE: m_{style} version 2 is still loading"):
        changing.client.predict(spec(f"m_{style}", version={"value": 2}), {"x": [[1.0]]})
    reply = changing.rest.post(f"/models/m_{style}/versions/2:predict", {"instances": [[1.0]]})
    assert (reply.status, reply.error) == (503, f"m_{style} version 2 is still loading")
    assert changing.client.predict(spec(f"m_{style}"), {"x": [[1.0]]})


def test_model_whose_first_version_comes_is_unavailable(changing: Changing) -> None:
    """'unknown model → NOT_FOUND': here a model on its way is none.

    Differs from TensorFlow Serving, like the row above.
    """
    with pytest.raises(Refusal, match="UNAVAILABLE: first is loading version 1"):
        changing.client.predict(spec("first"), {"x": [[1.0]]})


@pytest.mark.parametrize("style", STYLES)
def test_label_whose_version_is_unloaded(changing: Changing, style: str) -> None:
    """'label known, its version unloaded → NOT_FOUND as Specific'."""
    message = rf"NOT_FOUND: Servable not found for request: Specific\(m_{style}, 4\)"
    with pytest.raises(Refusal, match=message):
        changing.client.predict(spec(f"m_{style}", version_label="gone"), {"x": [[1.0]]})


@pytest.mark.parametrize("style", STYLES)
def test_label_may_be_ahead_of_its_version(changing: Changing, style: str) -> None:
    """2.2: 'A label may only name an AVAILABLE version'.

    Differs from TensorFlow Serving: such a label waits for its version, and keeps what it had.
    """

    async def move(label: str, version: int) -> None:
        async with changing.site.publisher() as publisher:
            config = await publisher.config(f"m_{style}")
            assert config
            moved = replace(config, labels={**config.labels, label: version})
            await changing.site.write_control((config_key(config.model), codec.encode(moved)))
            # Behind it on the log, so a node that follows it follows the move.
            await publisher.retire(f"m_{style}", 4, force=True, wait="fleet")

    with pytest.raises(Refusal, match="UNAVAILABLE"):
        changing.client.predict(spec(f"m_{style}", version_label="next"), {"x": [[1.0]]})
    asyncio.run(move("stable", 2))
    answer = changing.client.predict(spec(f"m_{style}", version_label="stable"), {"x": [[1.0]]})
    assert answer.model_spec.version.value == 1


def test_version_that_unloads_finishes_what_it_has(changing: Changing) -> None:
    """1: 'publish UNLOADING → publish map without it (new lookups get NOT_FOUND) → block until old
    handles are gone → … END'.
    """

    async def retire() -> None:
        async with changing.site.publisher() as publisher:
            await publisher.retire("busy", 1)

    client, log = changing.client, changing.doors.log
    endless = client.prediction.Predict.future(
        predict_request(spec("busy"), {"seconds": [1e9]}), timeout=60
    )
    client.status(spec("busy"))  # Behind it on the same connection.
    asyncio.run(retire())
    log.event("version.unload_begun", model="busy", version=1)
    assert states(client, "busy") == {1: UNLOADING}
    with pytest.raises(Refusal, match=r"NOT_FOUND: Servable not found for request: Latest\(busy\)"):
        client.predict(spec("busy"), {"seconds": [0.0]})
    assert not endless.done()
    endless.cancel()
    log.event("version.ended", model="busy", version=1)
    assert states(client, "busy") == {1: END}


def test_full_queue_refuses_at_once(changing: Changing) -> None:
    """'batch queue full → UNAVAILABLE'. Code map: 'RESOURCE_EXHAUSTED 429'.

    Differs from TensorFlow Serving: RESOURCE_EXHAUSTED, and when to come back.
    """
    stub = changing.client.prediction
    asked = predict_request(spec("crowded"), {"seconds": [1e9]})
    calls = [stub.Predict.future(asked, timeout=60)]
    for _ in range(3 * MAX_QUEUE_CALLS):
        changing.client.status(spec("crowded"))  # Behind it on the same connection.
        calls.append(stub.Predict.future(asked, timeout=60))
    changing.client.status(spec("crowded"))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked, timeout=TIMEOUT_SECONDS)
    failed = cast("grpc.Call", refused.value)
    assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert {"retry-after", "grpc-retry-pushback-ms"} <= {
        key for key, _ in failed.trailing_metadata()
    }
    reply = changing.rest.post("/models/crowded:predict", {"instances": [0.0]})
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.error
    for call in calls:
        call.cancel()


def test_node_that_is_not_ready_is_unavailable(changing: Changing) -> None:
    """'labels used before first config → UNAVAILABLE labels not initialised'.

    Differs from TensorFlow Serving: everything is UNAVAILABLE until the node is ready.
    """
    second = running_node(changing.site, awaits_ready=False, node_id="second", group="second")
    with second as doors:
        rest = Rest(doors)
        with grpc.insecure_channel(doors.grpc) as channel:
            for asked in (spec("m_tf1", version_label="stable"), spec("m_tf1"), spec("none")):
                with pytest.raises(Refusal, match="UNAVAILABLE"):
                    Client(channel).predict(asked, {"x": [[1.0]]})
        assert rest.post("/models/m_tf1/labels/stable:predict", {"instances": [[1]]}).status == 503
