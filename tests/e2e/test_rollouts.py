"""What operators do to a model that serves: roll back, pin, move labels, split; on a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import numpy as np
import pytest
from grpc import aio

from headrace.cli.plan_view import plan_as_of
from headrace.protos import tensorflow_pb2
from headrace.publisher import (
    ConfigChange,
    InferenceClient,
    KafkaConnection,
    ModelPublisher,
    NotWanted,
    StillUsed,
)
from headrace.publisher.history import read_control
from headrace.schemas.records import PolicyKind, VersionPolicy
from tests.conformance.open_inference.models import Gated
from tests.e2e.rig import GrpcClient, Site, deployment, grpc_client
from tests.integration.consumer.rpc.official import PredictionStub, PredictRequest, prediction_stub
from tests.python_models import write_python

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]
STILL = {"x": [0.0]}
"""What a gated model answers at once."""

Ask = Callable[[], Awaitable[Mapping[str, str]]]
"""Asks once and returns the provenance of the answer."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that loads in no time."""
    return write_python("half_plus_two", tmp_path / "half")


async def answering(client: GrpcClient, name: str = "m", *, label: str = "") -> int:
    """Return the version that answers."""
    outputs, version = await client.predict(name, X, label=label)
    assert outputs["y"] == Y
    return version


async def test_rollbacks_and_pins_are_in_force_when_they_return(site: Site, folder: Path) -> None:
    """Each rollback goes further back; what is published meanwhile waits until it is let in."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        for version in (1, 2, 3):
            await publisher.publish("m", version, folder, wait="fleet")
        for version in (2, 1):
            done = await publisher.rollback("m", wait="fleet")
            assert done.applied_by == (f"{site.name}-node",)
            assert await answering(client) == version
        with pytest.raises(NotWanted, match="does not want version 4"):
            await publisher.publish("m", 4, folder, wait="fleet")
        assert await answering(client) == 1
        await publisher.unpin("m", wait="fleet")
        assert await answering(client) == 4
        await publisher.pin("m", [2, 3], wait="fleet")
        assert await answering(client) == 3
        await publisher.rollback("m", wait="fleet")
        assert await answering(client) == 4


async def test_a_label_moves_when_its_version_serves(site: Site, tmp_path: Path) -> None:
    """Until then the old one answers, though nothing else wants it; and none is unloaded."""
    old, new = Gated(tmp_path / "old"), Gated(tmp_path / "new")
    old.let_load()
    async with deployment(site) as (node, publisher), grpc_client(node) as client:

        async def stable() -> int:
            return (await client.predict("m", STILL, label="stable"))[1]

        await publisher.publish("m", 1, old.path)
        await publisher.configure(ConfigChange(model="m", labels={"stable": 1}), wait="fleet")
        await publisher.publish("m", 2, new.path)
        await node.event("version.load_begun", model="m", version=2)
        moved = await publisher.configure(ConfigChange(model="m", labels={"stable": 2}))
        # Behind it on the log: a node that follows this one follows that one.
        await publisher.configure(ConfigChange(model="other", replicas=2), wait="fleet")
        assert moved.after.versions == (2,)
        assert await stable() == 1
        new.let_load()
        await node.event("version.available", model="m", version=2)
        assert await stable() == 2
        await node.event("version.ended", model="m", version=1)
        third = Gated(tmp_path / "third")
        third.let_load()
        await publisher.publish("m", 3, third.path, wait="fleet")
        with pytest.raises(StillUsed, match="in use by its label 'stable'"):
            await publisher.retire("m", 2)
        assert await stable() == 2
        await publisher.pin("m", [3], wait="fleet")
        assert await stable() == 2


async def test_an_alias_answers_at_every_door_and_lists_no_version(
    site: Site, folder: Path
) -> None:
    """It has versions only through its arms; the lists of models know those of real models."""
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
        aiohttp.ClientSession() as session,
    ):
        await publisher.publish("gbdt", 1, folder, wait="fleet")
        await publisher.publish("dnn", 7, folder, wait="fleet")
        split = {"gbdt": 50, "dnn": 50}
        await publisher.configure(ConfigChange(model="ranker", split=split), wait="fleet")
        assert {await answering(client, "ranker") for _ in range(30)} == {1, 7}
        answer = await stream.infer("ranker", {"x": np.array(X["x"], np.float32)})
        assert (answer.model, answer.version) in {("gbdt", 1), ("dnn", 7)}
        url = f"http://127.0.0.1:{await node.port('http')}"
        async with session.post(
            f"{url}/v1/models/ranker:predict", json={"instances": X["x"]}
        ) as reply:
            assert reply.status == 200
            assert reply.headers["headrace-arm"] in split
        async with session.post(f"{url}/v2/repository/index", json={}) as reply:
            listed: Any = await reply.json()
            assert [one["name"] for one in listed] == ["dnn", "gbdt"]
        async with session.get(f"{url}/v2/models/ranker/ready") as reply:
            assert reply.status == 200
        async with session.get(f"{url}/v1/models/ranker") as reply:
            assert reply.status == 404


def over_grpc(stub: PredictionStub) -> Ask:
    """Return a client that is TensorFlow Serving's own stub."""
    request = PredictRequest()
    request.model_spec.name = "m"
    tensor = request.inputs["x"]
    tensor.dtype = tensorflow_pb2.DT_FLOAT
    tensor.tensor_content = np.array(X["x"], np.float32).tobytes()
    for size in (3, 1):
        tensor.tensor_shape.dim.add(size=size)

    async def ask() -> Mapping[str, str]:
        call = stub.Predict(request, timeout=20)
        answer = await call
        assert list(answer.outputs["y"].float_val) == Y
        told = str(dict(await call.trailing_metadata())["headrace-provenance"])
        return {key: unquote(value) for key, _, value in (f.partition("=") for f in told.split())}

    return ask


def over_rest(session: aiohttp.ClientSession, url: str) -> Ask:
    """Return a client that speaks plain HTTP."""

    async def ask() -> Mapping[str, str]:
        async with session.post(url, json={"instances": X["x"]}) as reply:
            assert (reply.status, await reply.json()) == (200, {"predictions": [[y] for y in Y]})
            return {name.lower().removeprefix("headrace-"): v for name, v in reply.headers.items()}

    return ask


def over_kafka(client: InferenceClient) -> Ask:
    """Return a client of the request topic."""

    async def ask() -> Mapping[str, str]:
        answer = await client.infer("m", {"x": np.array(X["x"], np.float32)})
        assert answer.outputs["y"].ravel().tolist() == Y
        return answer.headers

    return ask


async def change_everything(publisher: ModelPublisher) -> list[int]:
    """Change split, labels and weights of m, and go back, again and again; return the offsets."""
    policy = VersionPolicy(kind=PolicyKind.ALL)
    labels = {"stable": 1, "canary": 2}
    offsets: list[int] = []
    for round_ in range(4):
        wishes = (
            ConfigChange(model="m", policy=policy, labels=labels, split={"stable": 9, "canary": 1}),
            ConfigChange(model="m", split={"stable": 1, "canary": 9}),
            ConfigChange(model="m", labels={"stable": 3}),
            ConfigChange(model="m", split={"stable": 1, "2": round_ + 1}),
        )
        done = [await publisher.configure(wish, wait="fleet") for wish in wishes]
        done += [await publisher.rollback("m", wait="fleet") for _ in range(3)]
        offsets += [one.control_offset for one in done]
    return offsets


async def test_changes_under_load_lose_nothing_and_every_answer_was_allowed(
    site: Site, folder: Path
) -> None:
    """Three doors ask without pause; each answer names an arm that the plan had when it says."""
    seen: list[Mapping[str, str]] = []
    done = asyncio.Event()

    async def keep_asking(ask: Ask) -> None:
        while not done.is_set():
            seen.append(await ask())

    async with AsyncExitStack() as stack:
        node, publisher = await stack.enter_async_context(deployment(site))
        for version in (1, 2, 3):
            await publisher.publish("m", version, folder)
        everything = VersionPolicy(kind=PolicyKind.ALL)
        await publisher.configure(ConfigChange(model="m", policy=everything), wait="fleet")
        address = f"127.0.0.1:{await node.port()}"
        channel = await stack.enter_async_context(aio.insecure_channel(address))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{await node.port('http')}/v1/models/m:predict"
        stream = await stack.enter_async_context(site.client())
        async with asyncio.TaskGroup() as tasks:
            for ask in (over_grpc(prediction_stub(channel)), over_rest(session, url)):
                tasks.create_task(keep_asking(ask))
            tasks.create_task(keep_asking(over_kafka(stream)))
            offsets = await change_everything(publisher)
            done.set()
        assert await node.stop() == 0
    assert not any(event["event"] == "call.failed" for event in node.events)
    entries = await read_control(site.connection, site.topics)
    for answer in {tuple(sorted(one.items())) for one in map(_routed, seen)}:
        _check_allowed(dict(answer), plan_as_of(entries, int(dict(answer)["plan-offset"])).models)
    assert len({one["plan-offset"] for one in seen} & set(map(str, offsets))) > len(offsets) // 2


def _routed(answer: Mapping[str, str]) -> Mapping[str, str]:
    """Return what an answer says of its route."""
    return {
        key: answer.get(key, "") for key in ("model", "version", "plan-offset", "routed-by", "arm")
    }


def _check_allowed(answer: Mapping[str, str], plan: Mapping[str, Any]) -> None:
    """Fail unless the plan had the arm, with a share, and the version behind it."""
    arms = {line.fields["arm"]: line.fields for line in plan["m"] if line.what == "arm"}
    labels = {line.fields["label"]: line.fields for line in plan["m"] if line.what == "label"}
    if not arms:
        assert (answer["routed-by"], answer["version"]) == ("latest", "3"), answer
        return
    arm = arms[answer["arm"]]
    assert answer["routed-by"] == "split", answer
    assert arm["share_percent"] > 0, answer
    means = labels[arm["label"]]["version"] if arm["label"] else arm["version"]
    assert answer["version"] == str(means), answer
