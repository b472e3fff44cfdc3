"""The servers under test: an embedded broker made for load, and a node as a deployment runs it."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.children import Child, running
from benchmarks.measurement import Bench, BenchmarkError
from headrace.cli.broker import EmbeddedBroker
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import Fleet, NodeView, status_reader
from headrace.publisher.topics import ensure_topics
from headrace.schemas.records import NodeStatus
from headrace.schemas.topics import Topics, specs

_NODE: Final = "benchmark"
_READY_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 1.0
REQUEST_PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is ready."""

    child: Child
    grpc_endpoint: str
    http_endpoint: str

    @property
    def pid(self) -> int:
        """The process id of the node itself; zygote and workers are below it."""
        return self.child.pid

    @property
    def log(self) -> Path:
        """The node's log, JSON lines."""
        return self.child.log


@asynccontextmanager
async def broker() -> AsyncGenerator[KafkaConnection, None]:
    """Run a Kafka with the topics of Headrace, empty, on a free port."""
    async with EmbeddedBroker(profile="fast") as kafka:
        connection = KafkaConnection(kafka.bootstrap_servers)
        await ensure_topics(connection, specs(Topics(), request_partitions=REQUEST_PARTITIONS))
        yield connection


@asynccontextmanager
async def node(
    bench: Bench,
    connection: KafkaConnection,
    *,
    name: str = _NODE,
    topics: Topics | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[Node, None]:
    """Run a node on free ports; it is ready when the context begins.

    Its settings are the defaults, but for `topics` and `settings`, which are flags by name; a
    switch has no value, which is the empty one.
    """
    topics = topics or Topics()
    given = {
        "bootstrap-servers": connection.bootstrap_servers,
        "node-id": name,
        "host": "127.0.0.1",
        "grpc-port": "0",
        "http-port": "0",
        "cache-dir": str(bench.folder / f"cache-{name}"),
        "log-format": "json",
        "control-topic": topics.control,
        "status-topic": topics.status,
        "request-topic": topics.requests,
        "response-topic": topics.responses,
        "dead-letter-topic": topics.dead_letters,
        **(settings or {}),
    }
    arguments = [part for flag, value in given.items() for part in (f"--{flag}", value) if part]
    async with running("headrace.consumer", arguments, bench.folder) as child:
        said = await _ready(name, child, connection, topics)
        yield Node(child, said.grpc_endpoint, said.http_endpoint)


async def _ready(
    name: str, child: Child, connection: KafkaConnection, topics: Topics
) -> NodeStatus:
    """Return what the node says of itself, once it is ready.

    Raises:
        BenchmarkError: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + _READY_SECONDS
    async with status_reader(connection, topics) as reader:
        while time.monotonic() < deadline:
            child.check_running()
            view = await reader.wait_for(lambda fleet: _ready_node(fleet, name), _LOOK_SECONDS)
            if view is not None and view.heartbeat is not None:
                return view.heartbeat
    raise BenchmarkError(f"the node is not ready after {_READY_SECONDS:g} s")


def _ready_node(fleet: Fleet, name: str) -> NodeView | None:
    found = fleet.nodes.get(name)
    is_ready = found is not None and found.is_ready and found.is_live(time.time_ns() // 1_000_000)
    return found if is_ready else None


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses yet."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports
