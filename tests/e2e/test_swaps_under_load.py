"""Version swaps in a row while foreign clients of every door ask without pause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from grpc import aio

from headrace.protos import tensorflow_pb2
from headrace.publisher import InferenceClient, KafkaConnection
from tests.e2e.rig import Site, deployment
from tests.integration.consumer.rpc.official import PredictionStub, PredictRequest, prediction_stub
from tests.models import model

SWAPS = 20
X = np.array([[1.0], [2.0], [5.0]], np.float32)
Y = [2.5, 3.0, 4.5]

Ask = Callable[[], Awaitable[int]]
"""Asks once, checks the answer, and returns the version that gave it."""

pytestmark = pytest.mark.timeout(180)


@dataclass
class Wanted:
    """Which versions an answer may come from: none below the one in force when it was asked for.

    `published` is the newest on the log, or about to be; `in_force` the newest that is AVAILABLE.
    """

    published: int = 1
    in_force: int = 1


@dataclass
class Asking:
    """A client that asks until told to stop: what it saw, and what it should not have seen."""

    ask: Ask
    wanted: Wanted
    answers: int = 0
    seen: set[int] = field(default_factory=set[int])
    newest: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, done: asyncio.Event) -> None:
        """Ask without pause; the first failure ends the test."""
        while not done.is_set():
            oldest = self.wanted.in_force
            version = await self.ask()
            assert oldest <= version <= self.wanted.published
            self.answers += 1
            if version not in self.seen:
                async with self.newest:
                    self.seen.add(version)
                    self.newest.notify_all()

    async def wait_for(self, version: int) -> None:
        """Return when a version has answered."""
        async with asyncio.timeout(30), self.newest:
            await self.newest.wait_for(lambda: version in self.seen)


def over_grpc(stub: PredictionStub) -> Ask:
    """Return a client that is TensorFlow Serving's own stub."""
    request = PredictRequest()
    request.model_spec.name = "m"
    tensor = request.inputs["x"]
    tensor.dtype = tensorflow_pb2.DT_FLOAT
    tensor.tensor_content = X.tobytes()
    for size in X.shape:
        tensor.tensor_shape.dim.add(size=size)

    async def ask() -> int:
        answer = await stub.Predict(request, timeout=20)
        assert list(answer.outputs["y"].float_val) == Y
        return answer.model_spec.version.value

    return ask


def over_rest(session: aiohttp.ClientSession, url: str) -> Ask:
    """Return a client that speaks plain HTTP."""

    async def ask() -> int:
        async with session.post(url, json={"instances": X.tolist()}) as reply:
            answer: Any = await reply.json()
            assert (reply.status, answer) == (200, {"predictions": [[y] for y in Y]})
            return int(reply.headers["headrace-version"])

    return ask


def over_kafka(client: InferenceClient) -> Ask:
    """Return a client of the request topic."""

    async def ask() -> int:
        answer = await client.infer("m", {"x": X})
        assert answer.outputs["y"].ravel().tolist() == Y
        assert answer.version is not None
        return answer.version

    return ask


async def test_swaps_under_load_fail_nobody_at_any_door(
    bootstrap_servers: str, unique_name: str, tmp_path: Path
) -> None:
    """Every request is answered rightly, by a version that was wanted, and each door sees all."""
    site = Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)
    wanted, done = Wanted(), asyncio.Event()
    async with AsyncExitStack() as stack:
        node, publisher = await stack.enter_async_context(deployment(site))
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        address = f"127.0.0.1:{await node.port()}"
        channel = await stack.enter_async_context(aio.insecure_channel(address))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{await node.port('http')}/v1/models/m:predict"
        stream = await stack.enter_async_context(site.client())
        asks = over_grpc(prediction_stub(channel)), over_rest(session, url), over_kafka(stream)
        clients = [Asking(ask, wanted) for ask in asks]
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run(done))
            for version in range(2, SWAPS + 2):
                wanted.published = version
                kind = "half_plus_two" if version % 2 else "half_plus_two_tf1"
                await publisher.publish("m", version, model(kind), wait="fleet")
                wanted.in_force = version
                for client in clients:
                    await client.wait_for(version)
            done.set()
        assert await node.stop() == 0
    for client in clients:
        assert client.seen >= set(range(2, SWAPS + 2))
        assert client.answers > SWAPS
    assert not any(event["event"] == "call.failed" for event in node.events)
