"""The control log as a stream of batches: every record since the beginning, in order, for ever.

Owns the position in the log and the patience with a broker that is away. Does not fold: the plan
is the core's.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.consumer.control.events import read_events
from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.errors import NodeError
from headrace.consumer.core.plan import ControlEvent
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.clients import AIOKafkaConsumer, KafkaError, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError, TopicMismatch
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.gate import Gate
from headrace.publisher.outage import Outage
from headrace.publisher.topics import ensure_topics, partition_counts
from headrace.schemas.topics import Topics, TopicSpec, specs

_LOG: Final = structlog.get_logger(__name__)
_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 3.0
_PROBE_SECONDS: Final = 3.0
_PROBE_TIMEOUT_SECONDS: Final = 5.0
# Records per batch. Reading, decoding and folding so many takes about 15 ms, which is how long the
# event loop is held.
_MAX_RECORDS: Final = 500
# The same with signatures, which take about 130 µs each.
_MAX_SIGNED_RECORDS: Final = 100
_FETCH_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ControlBatch:
    """Consecutive records of the control log.

    `events` are those that count, `unreadable` says in words what was skipped and why, `offset`
    is the last offset that these and all earlier batches cover (-1: the log is empty).
    `is_caught_up` is true from the batch on that reaches the end offset seen at start.
    """

    events: Sequence[ControlEvent]
    unreadable: Sequence[str]
    offset: int
    is_caught_up: bool


class ControlLog:
    """Follows partition 0 of the control topic without a group.

    **Concurrency:** one reader, on the event loop.

    Args:
        connection: where Kafka is.
        topic: the control topic; it must have exactly one partition.
        creates: the topics to make where they do not exist (None: the control topic alone);
            with the control topic not among them, the log waits for somebody else to make it.
        security: whose events are believed; what is not believed is skipped.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        *,
        creates: Sequence[TopicSpec] | None = None,
        security: EventSecurity | None = None,
    ) -> None:
        self._connection = connection
        self._partition = TopicPartition(topic, 0)
        own = [spec for spec in specs(Topics(control=topic)) if spec.name == topic]
        self._creates = own if creates is None else creates
        self._security = security or EventSecurity()
        self._gate = Gate(self._security.trusted_keys)
        self._outage = Outage("control log")
        self._next: int | None = None
        self._end_at_start: int | None = None
        self._is_caught_up = False

    async def batches(self) -> AsyncGenerator[ControlBatch, None]:
        """Yield the log from its beginning, then what arrives, without end.

        A broker that is away or restarts is waited for; nothing is skipped or given twice.

        Raises:
            NodeError: the topic has another number of partitions than one.

        Cancellation: nothing is left behind once the generator is closed (`aclosing`).
        """
        await self._find_topic()
        pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        is_left = False
        while True:
            try:
                with strays_as_errors():
                    async with (
                        self._connection.consumer(
                            isolation_level="read_committed",
                            auto_offset_reset="none",
                            max_partition_fetch_bytes=_FETCH_BYTES,
                        ) as consumer,
                        aclosing(self._follow(consumer)) as batches,
                    ):
                        async for batch in batches:
                            self._outage.ended()
                            pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
                            is_left = True
                            yield batch
                            is_left = False
            except (KafkaError, PublisherError, TimeoutError) as error:
                if is_left:  # The reader closed us, and the consumer did not close in peace.
                    return
                self._outage.went_on(error)
            await asyncio.sleep(next(pauses))

    async def _find_topic(self) -> None:
        """Return when the topic is there and has one partition."""
        topic = self._partition.topic
        pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        last_log = float("-inf")
        while True:
            try:
                with strays_as_errors():
                    if self._creates:
                        await ensure_topics(self._connection, self._creates)
                    count = (await partition_counts(self._connection, [topic])).get(topic)
                self._outage.ended()
            except TopicMismatch as error:
                raise NodeError(str(error)) from error
            except (KafkaError, PublisherError) as error:
                self._outage.went_on(error)
            else:
                if count == 1:
                    return
                if count is not None:
                    raise NodeError(
                        f"control topic {topic!r} has {count} partitions and must have exactly 1, "
                        "because its order is its meaning: delete it or name another one"
                    )
                if time.monotonic() - last_log >= 10:
                    last_log = time.monotonic()
                    _LOG.warning("control_topic.missed", topic=topic)
            await asyncio.sleep(next(pauses))

    async def _follow(self, consumer: AIOKafkaConsumer) -> AsyncGenerator[ControlBatch, None]:
        """Yield what one consumer reads until it fails."""
        consumer.assign([self._partition])
        position = await self._place(consumer)
        if not self._is_caught_up and self._reaches_end(position):
            yield ControlBatch((), (), position - 1, is_caught_up=True)
        while True:
            messages = await self._poll(consumer)
            self._next = position = await consumer.position(self._partition)
            was_caught_up = self._is_caught_up
            is_caught_up = self._reaches_end(position)
            if messages or is_caught_up != was_caught_up:
                events, unreadable = read_events(
                    messages,
                    self._gate,
                    requires_validation=self._security.requires_validation,
                )
                yield ControlBatch(events, unreadable, position - 1, is_caught_up)
                if not was_caught_up:
                    # What a replay leaves lives as long as the node. Left to the collector, 100,000
                    # versions hold the loop for 0.2 s each time it looks through them.
                    gc.freeze()
            # A long replay shares the loop: health checks and heartbeats go on meanwhile.
            await asyncio.sleep(0)

    def _reaches_end(self, position: int) -> bool:
        if self._end_at_start is not None and position >= self._end_at_start:
            self._is_caught_up = True
        return self._is_caught_up

    async def _place(self, consumer: AIOKafkaConsumer) -> int:
        """Set the consumer to where we stopped, or to the beginning, and return that offset."""
        first, end = await self._bounds(consumer)
        if self._end_at_start is None:
            self._end_at_start = end
        position = first if self._next is None else self._next
        if self._next is not None and not first <= position <= end:
            # Only an operator can do this: records were deleted, or the topic was made anew.
            _LOG.error("control_log.truncated", position=position, first=first, end=end)
            position = first
            self._gate.reset()
        consumer.seek(self._partition, position)
        self._next = position
        return position

    async def _bounds(self, consumer: AIOKafkaConsumer) -> tuple[int, int]:
        async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
            first = await consumer.beginning_offsets([self._partition])
            end = await consumer.end_offsets([self._partition])
        return first[self._partition], end[self._partition]

    async def _poll(self, consumer: AIOKafkaConsumer) -> Sequence[Message]:
        """Return what arrived; after silence, make sure that silence is all it is.

        aiokafka hides a broker that is away from its reader, and one that comes back behind
        another address stays hidden for ever: the probe notices both, and a new consumer looks
        afresh.
        """
        messages = await self._take(consumer, _PROBE_SECONDS)
        if messages:
            return messages
        end = (await self._bounds(consumer))[1]
        self._outage.ended()
        if await consumer.position(self._partition) != end:
            messages = await self._take(consumer, _PROBE_SECONDS)
            if not messages and await consumer.position(self._partition) < end:
                raise TimeoutError(f"nothing arrives although the log ends at offset {end}")
        return messages

    async def _take(self, consumer: AIOKafkaConsumer, seconds: float) -> Sequence[Message]:
        # Invariant: never under wait_for; a cancelled getmany breaks the consumer's liveness.
        found = await consumer.getmany(
            self._partition,
            timeout_ms=int(seconds * 1000),
            max_records=_MAX_RECORDS if self._gate.trusted is None else _MAX_SIGNED_RECORDS,
        )
        return found.get(self._partition, ())
