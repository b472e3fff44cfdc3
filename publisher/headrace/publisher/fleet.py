"""The fleet as its nodes describe it: a fold of the status topic, and the reader that feeds it.

`Fleet` and `NodeView` are pure (no I/O, no clock); `StatusReader` follows the topic.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from headrace.publisher.clients import Message
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.tail import Tail, tail
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import NodeStatus, ServableStatus
from headrace.schemas.topics import Topics

LIVENESS_FACTOR: Final = 3.5
_LOOK_AGAIN_SECONDS: Final = 0.25

ServableKey = tuple[str, int]
T = TypeVar("T")


def control_error(offset: int, reason: str) -> str:
    """Return how a node says on the status topic that it skipped a control record."""
    return f"control record at offset {offset}: {reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node: its last heartbeat and the latest status of each of its versions.

    `heartbeat` is None until the node's current incarnation has sent one. `last_seen_ms` is the
    Kafka timestamp of its last heartbeat. `servables` belongs to the fleet, which goes on
    changing it.
    """

    name: str
    incarnation: int
    heartbeat: NodeStatus | None = None
    last_seen_ms: int = 0
    servables: dict[ServableKey, ServableStatus] = field(
        default_factory=dict[ServableKey, ServableStatus]
    )

    @property
    def control_offset(self) -> int:
        """The last control record that the node has applied, -1 when none is known."""
        return -1 if self.heartbeat is None else self.heartbeat.control_offset

    @property
    def is_ready(self) -> bool:
        """Whether the node called itself ready in its last heartbeat."""
        return self.heartbeat is not None and self.heartbeat.is_ready

    def is_live(self, now_ms: int) -> bool:
        """Return whether the last heartbeat is younger than 3.5 heartbeat intervals."""
        if self.heartbeat is None:
            return False
        age_ms = now_ms - self.last_seen_ms
        return age_ms < LIVENESS_FACTOR * self.heartbeat.heartbeat_interval_ms

    def skipped(self, offset: int) -> str:
        """Return why the node did not take a control record; empty when it says nothing of it."""
        prefix = control_error(offset, "")
        errors = () if self.heartbeat is None else self.heartbeat.control_errors
        found = next((error for error in errors if error.startswith(prefix)), "")
        return found and f"skipped the event at offset {offset}: {found.removeprefix(prefix)}"

    def servable(self, model: str, version: int) -> ServableStatus | None:
        """Return the latest status of one version on this node."""
        return self.servables.get((model, version))


class Fleet:
    """All nodes that the status topic knows.

    **Concurrency:** not thread-safe; one reader applies, others look between its awaits.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, NodeView] = {}

    def apply(self, key: bytes, value: NodeStatus | None, timestamp_ms: int) -> None:
        """Take one record of the status topic; None is a tombstone.

        A record of an earlier incarnation of its node than the latest seen is void. A later one
        voids everything that the node said before.
        """
        if value is None:
            self._forget(key.decode(errors="replace"))
            return
        node = self._nodes.get(value.node)
        if node is not None and value.incarnation < node.incarnation:
            return
        if node is None or value.incarnation > node.incarnation:
            node = NodeView(name=value.node, incarnation=value.incarnation)
        if value.servable is None:
            node = replace(node, heartbeat=value, last_seen_ms=timestamp_ms)
        else:
            node.servables[value.servable.model, value.servable.version] = value.servable
        self._nodes[value.node] = node

    @property
    def nodes(self) -> Mapping[str, NodeView]:
        """Every node that is known, live or not, by name."""
        return self._nodes

    def live(self, now_ms: int) -> list[NodeView]:
        """Return the nodes whose last heartbeat is young enough, by name."""
        return [self._nodes[name] for name in sorted(self._nodes) if self._is_live(name, now_ms)]

    def _is_live(self, name: str, now_ms: int) -> bool:
        return self._nodes[name].is_live(now_ms)

    def _forget(self, key: str) -> None:
        name, _, servable = key.partition("/")
        node = self._nodes.get(name)
        if node is None:
            return
        if not servable:
            # The key of the heartbeat: the node is gone, and what it served with it.
            del self._nodes[name]
            return
        model, _, version = servable.rpartition("/")
        node.servables.pop((model, _number(version)), None)


class StatusReader:
    """Follows the status topic into a `Fleet`.

    **Concurrency:** one task.
    """

    def __init__(self, reader: Tail, on_status: Callable[[NodeStatus], None]) -> None:
        self._tail = reader
        self._on_status = on_status
        self.fleet = Fleet()

    async def catch_up(self) -> Fleet:
        """Fold everything that is in the topic now."""
        async for message in self._tail.to_end():
            self._take(message)
        return self.fleet

    async def follow(self, timeout_seconds: float) -> list[NodeStatus]:
        """Fold what arrives within `timeout_seconds` and return those records, oldest first."""
        messages = await self._tail.poll(timeout_seconds)
        return [status for message in messages if (status := self._take(message)) is not None]

    async def wait_for(
        self, predicate: Callable[[Fleet], T | None], timeout_seconds: float
    ) -> T | None:
        """Follow until `predicate` returns something else than None, and return that.

        It is asked at the start, after every batch, and a few times a second besides, because
        nodes also die by silence. Returns None when the time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        while (found := predicate(self.fleet)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await self.follow(min(left, _LOOK_AGAIN_SECONDS))
        return found

    def _take(self, message: Message) -> NodeStatus | None:
        if message.key is None:
            return None
        try:
            value = None if message.value is None else codec.decode(message.value, NodeStatus)
        except WireError:
            # A record of a newer node, or not of ours: the fleet is what the readable ones say.
            return None
        self.fleet.apply(message.key, value, message.timestamp)
        if value is not None:
            self._on_status(value)
        return value


@asynccontextmanager
async def status_reader(
    connection: KafkaConnection,
    topics: Topics,
    on_status: Callable[[NodeStatus], None] = lambda _: None,
) -> AsyncGenerator[StatusReader, None]:
    """Open the status topic and fold what is in it; `on_status` hears every readable record.

    Raises:
        BrokerUnreachable: no broker answered.
        TopicMismatch: the status topic does not exist.
    """
    async with tail(connection, topics.status) as reader:
        follower = StatusReader(reader, on_status)
        await follower.catch_up()
        yield follower


async def read_fleet(connection: KafkaConnection, topics: Topics) -> Fleet:
    """Return the fleet as the status topic shows it now; raises as `status_reader`."""
    async with status_reader(connection, topics) as reader:
        return reader.fleet


def status_key(node: str, model: str, version: int) -> bytes:
    """Return the status-topic key of one version on one node."""
    return f"{node}/{model}/{version}".encode()


def heartbeat_key(node: str) -> bytes:
    """Return the status-topic key of a node's heartbeat."""
    return node.encode()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1
