"""Several workers for a version, from the event on the log to the processes, under load."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from headrace.publisher import ConfigChange, KafkaConnection
from tests.e2e.rig import Site, deployment, grpc_client
from tests.models import model

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


def exists(pid: object) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


async def test_workers_come_die_and_go_and_no_request_fails(site: Site) -> None:
    """An event makes one worker two, both are killed, an event makes them one; both doors ask."""
    done = asyncio.Event()
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
    ):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")

        async def ask_grpc() -> None:
            while not done.is_set():
                outputs, _ = await client.predict("m", X)
                assert outputs["y"] == Y

        async def ask_kafka() -> None:
            while not done.is_set():
                answer = await stream.infer("m", {"x": np.array(X["x"], np.float32)})
                assert answer.outputs["y"].ravel().tolist() == Y

        async with asyncio.TaskGroup() as tasks:
            for ask in (ask_grpc, ask_grpc, ask_kafka, ask_kafka):
                tasks.create_task(ask())
            first = (await node.event("version.loaded"))["pid"]
            await publisher.configure(ConfigChange(model="m", replicas=2))
            second = (await node.event("worker.joined"))["pid"]
            for pid in (first, second):
                os.kill(int(str(pid)), signal.SIGKILL)
            fresh = [(await node.event("worker.replaced", occurrence=n))["pid"] for n in (1, 2)]
            assert len({first, second, *fresh}) == 4
            await publisher.configure(ConfigChange(model="m", replicas=1))
            async with asyncio.timeout(30):
                while sum(map(exists, fresh)) != 1:
                    await asyncio.sleep(0.01)
            done.set()
