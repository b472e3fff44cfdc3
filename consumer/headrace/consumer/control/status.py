"""Tells the fleet what this node does: version states and heartbeats, on the status topic.

Owns the order in which they are told and their survival of outages. Never makes the node wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from headrace.consumer.control.incarnations import earlier_keys
from headrace.consumer.control.outbox import Note, Outbox
from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.errors import NodeError
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.clients import AIOKafkaProducer, KafkaError
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.publisher.fleet import heartbeat_key, status_key
from headrace.publisher.outage import Outage
from headrace.schemas.codec import encode
from headrace.schemas.records import NodeStatus, ServableState, ServableStatus

_BATCH: Final = 500
_ACK_PATIENCE_SECONDS: Final = 3.0
_FLUSH_SECONDS: Final = 5.0
_MAX_ERRORS: Final = 10
_MAX_ERROR_CHARACTERS: Final = 2000
_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who speaks: the node's id, and a number that grows with every start of the node.

    Raises:
        NodeError: the id cannot be a key on the status topic.
    """

    node: str
    incarnation: int
    grpc_endpoint: str = ""
    http_endpoint: str = ""

    def __post_init__(self) -> None:
        """Refuse ids that would blur the keys."""
        if not self.node or "/" in self.node:
            raise NodeError(f"node id {self.node!r} is not allowed: give one without '/'")


class StatusPublisher:
    """Publishes one node's statuses and heartbeats, in the order in which they were told.

    Everything goes to partition 0 through one idempotent producer. While Kafka is away the latest
    status of each version is kept; it is sent when Kafka is back.

    **Concurrency:** event loop only. An async context manager; `publish` and `heartbeat` may be
    called before it is entered, and never block.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        identity: NodeIdentity,
        *,
        heartbeat_interval_seconds: float = 2.0,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._interval_seconds = heartbeat_interval_seconds
        self._heartbeat = NodeStatus(
            node=identity.node,
            incarnation=identity.incarnation,
            at_ms=0,
            control_offset=-1,
            heartbeat_interval_ms=round(heartbeat_interval_seconds * 1000),
            grpc_endpoint=identity.grpc_endpoint,
            http_endpoint=identity.http_endpoint,
        )
        self._outbox = Outbox(heartbeat_key(identity.node))
        self._wake = asyncio.Event()
        self._is_closing = False
        self._outage = Outage("status topic")
        self._life = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._life.enter_async_context(self._running())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._life.__aexit__(kind, error, traceback)

    def publish(self, status: ServableStatus) -> None:
        """Tell a transition; an observer for `Monitor.observe`."""
        key = status_key(self._heartbeat.node, status.model, status.version)
        if status.error is not None:
            status = replace(status, error=_fit(status.error, _MAX_ERROR_CHARACTERS))
        record = replace(self._heartbeat, at_ms=_now_ms(), control_errors=(), servable=status)
        self._put(Note(key, record))
        if status.state is ServableState.END and status.error is None:
            self._put(Note(key, None))

    def heartbeat(
        self, control_offset: int, *, is_ready: bool, control_errors: Sequence[str] = ()
    ) -> None:
        """Say how far the node is: at once when that is news, else with the next heartbeat.

        Every status that follows from `control_offset` must have been told before.
        """
        before = self._heartbeat
        self._heartbeat = replace(
            before,
            control_offset=control_offset,
            is_ready=is_ready,
            control_errors=tuple(
                _fit(error, _MAX_ERROR_CHARACTERS) for error in control_errors[-_MAX_ERRORS:]
            ),
        )
        if self._heartbeat != before:
            self._beat()

    def serve_at(self, *, grpc_endpoint: str, http_endpoint: str) -> None:
        """Name the doors' addresses, once they are known, in every record from now on."""
        self._heartbeat = replace(
            self._heartbeat, grpc_endpoint=grpc_endpoint, http_endpoint=http_endpoint
        )
        self._beat()

    def _beat(self) -> None:
        note = Note(heartbeat_key(self._heartbeat.node), replace(self._heartbeat, at_ms=_now_ms()))
        self._put(note)

    def _put(self, note: Note) -> None:
        self._outbox.put(note)
        self._wake.set()

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None, None]:
        """Send in the background; on a clean exit flush, bounded, and take the heartbeat back."""
        self._beat()
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send_always(), name="status")
            try:
                yield
            finally:
                self._is_closing = True
                self._put(Note(heartbeat_key(self._heartbeat.node), None))
                await asyncio.wait([sending], timeout=_FLUSH_SECONDS)
                sending.cancel()

    async def _send_always(self) -> None:
        """Send what there is with one producer after another, until closed and empty."""
        pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        unsent: list[Note] = []
        is_clean = False
        while True:
            try:
                with strays_as_errors():
                    if not is_clean:
                        unsent[:0] = await self._farewells()
                        is_clean = True
                    async with self._connection.producer(linger_ms=2) as producer:
                        while unsent or not self._is_done:
                            unsent = unsent or list(await self._next_notes())
                            await self._send(producer, unsent)
                            unsent = []
                            self._outage.ended()
                            pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
                        return
            except (KafkaError, PublisherError, TimeoutError) as error:
                # A failed send leaves a gap in the sequence that the broker never forgives this
                # producer: the next one sends the same notes again.
                self._outage.went_on(error)
            await asyncio.sleep(next(pauses))

    @property
    def _is_done(self) -> bool:
        return self._is_closing and not self._outbox

    async def _farewells(self) -> list[Note]:
        """Return tombstones for what an earlier incarnation of this node left behind."""
        identity = self._heartbeat
        keys = await earlier_keys(
            self._connection, self._topic, identity.node, identity.incarnation
        )
        return [Note(key, None) for key in keys]

    async def _next_notes(self) -> Sequence[Note]:
        """Return the oldest notes; when there are none for an interval, a heartbeat."""
        if not self._outbox:
            try:
                async with asyncio.timeout(self._interval_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._beat()
        self._wake.clear()
        return self._outbox.take(_BATCH)

    async def _send(self, producer: AIOKafkaProducer, notes: Sequence[Note]) -> None:
        """Return when the broker has confirmed all notes."""
        futures = [
            await producer.send(
                self._topic,
                key=note.key,
                value=None if note.status is None else encode(note.status),
                partition=0,
            )
            for note in notes
        ]
        # An idempotent producer goes on trying for ever, and so do we; but not in silence.
        everything = asyncio.gather(*futures)
        while not everything.done():
            await asyncio.wait([everything], timeout=_ACK_PATIENCE_SECONDS)
            if not everything.done():
                self._outage.went_on("statuses are sent and not confirmed")
        await everything


def _fit(text: str, max_characters: int) -> str:
    """Return `text` as it can travel: bounded, and without the halves of surrogate pairs."""
    fit = text.encode(errors="replace").decode()
    return fit if len(fit) <= max_characters else f"{fit[:max_characters]}…"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
