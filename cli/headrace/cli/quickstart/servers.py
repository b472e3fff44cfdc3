"""The servers of the show: the embedded broker and one node, each as a deployment would run it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from headrace.cli.broker import EmbeddedBroker
from headrace.cli.quickstart.child import Child, Program, running
from headrace.cli.quickstart.errors import QuickstartFailed
from headrace.cli.quickstart.workspace import Workspace
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import Fleet, NodeView, status_reader
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs

NODE: Final = "quickstart"
_READY_SECONDS: Final = 120.0
_PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The broker and the node while they run.

    **Concurrency:** one event loop.
    """

    broker: EmbeddedBroker
    node: Child
    connection: KafkaConnection

    async def watch(self) -> None:
        """Raise when the broker or the node ends; never return."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.broker.wait())
            tasks.create_task(_raise_at_end(self.node))

    async def ready(self) -> NodeView:
        """Return what the node says of itself once it is ready.

        Raises:
            QuickstartFailed: it is not, for two minutes.
        """
        async with status_reader(self.connection, Topics()) as reader:
            node = await reader.wait_for(_ready_node, _READY_SECONDS)
        if node is None:
            raise QuickstartFailed(
                f"the node is not ready after {_READY_SECONDS:g} s; log: {self.node.log}"
            )
        return node


def _ready_node(fleet: Fleet) -> NodeView | None:
    node = fleet.nodes.get(NODE)
    is_ready = node is not None and node.is_ready and node.is_live(time.time_ns() // 1_000_000)
    return node if is_ready else None


@asynccontextmanager
async def serving(
    workspace: Workspace, tell: Callable[[str], None]
) -> AsyncGenerator[Servers, None]:
    """Run a broker and a node as long as the context lasts; the node may not be ready yet."""
    async with EmbeddedBroker(data_dir=workspace.kafka, on_progress=tell) as broker:
        tell(f"Kafka answers on {broker.bootstrap_servers}")
        connection = KafkaConnection(broker.bootstrap_servers)
        await ensure_topics(connection, specs(Topics(), request_partitions=_PARTITIONS))
        async with running(_node(broker.bootstrap_servers, workspace), workspace) as node:
            tell(f"node starts; its log is {node.log}")
            yield Servers(broker=broker, node=node, connection=connection)
            if code := await node.stop():
                raise QuickstartFailed(
                    f"the node did not stop in order (exit code {code}); log: {node.log}"
                )


def _node(bootstrap_servers: str, workspace: Workspace) -> Program:
    settings = {
        "bootstrap-servers": bootstrap_servers,
        "node-id": NODE,
        "host": "127.0.0.1",
        "grpc-port": "0",
        "http-port": "0",
        "cache-dir": str(workspace.cache),
        "drain-seconds": "10",
        "log-format": "json",
    }
    return Program(
        name="node",
        module="headrace.consumer",
        arguments=[part for name, value in settings.items() for part in (f"--{name}", value)],
    )


async def _raise_at_end(child: Child) -> None:
    raise await child.fail()
