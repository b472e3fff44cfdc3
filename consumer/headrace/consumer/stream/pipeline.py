"""One partition's way through the door: take, answer, deliver; several batches at a time, in order.

Owns the bounds on what is in flight, and the partition's position. A pipeline knows nothing of the
others: a slow model delays the partitions that carry its requests, and no other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.consumer.core.codes import Code
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream.answering import answer
from headrace.consumer.stream.clients import (
    GroupConsumer,
    Message,
    OffsetOutOfRange,
    TopicPartition,
)
from headrace.consumer.stream.delivery import Delivery, Outlet
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing
from headrace.consumer.stream.replies import Replies
from headrace.consumer.stream.requests import Requests

_LOG: Final = structlog.get_logger(__name__)
_POLL_MS: Final = 500
_LOOK_TIMEOUT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Works:
    """What all pipelines of one session share."""

    consumer: GroupConsumer
    delivery: Delivery
    replies: Replies
    serving_map: ServingMap
    options: StreamOptions


class _Batch:
    """Records that were taken, and the task that answers them."""

    __slots__ = ("answering", "requests", "size_bytes", "taken_at")

    def __init__(self, requests: Requests, answering: asyncio.Task[list[Outgoing]]) -> None:
        self.requests = requests
        self.answering = answering
        self.size_bytes = requests.size_bytes
        self.taken_at = time.monotonic()


class Pipeline:
    """Answers the requests of one assigned partition.

    **Concurrency:** event loop only. `run` is one task; `stop` and `wait_drained` belong to
    whoever watches the group, and `abandon` ends what did not drain in time.
    """

    def __init__(self, partition: TopicPartition, works: Works) -> None:
        self.partition = partition
        self._works = works
        # Invariant: never longer than `max_in_flight_batches`, which `_has_room` sees to.
        self._flight: deque[_Batch] = deque()
        self._has_batch = asyncio.Event()
        self._batches = 0
        self._bytes = 0
        self._is_stopping = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._delivering: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Take nothing more. What is in flight goes on."""
        self._is_stopping = True
        self._has_room.set()

    async def wait_drained(self) -> None:
        """Return once everything that was taken is delivered."""
        await self._is_empty.wait()

    def abandon(self) -> None:
        """Give up what is in flight; its offsets stay uncommitted, so it is answered again."""
        self.stop()
        if self._delivering is not None:
            self._delivering.cancel()

    async def run(self) -> None:
        """Work until stopped and drained, or abandoned.

        Raises:
            KafkaError: the consumer cannot go on; nothing that was not delivered is committed.

        Cancellation: as `abandon`. Not while `getmany` is under way on a living consumer.
        """
        async with self._works.delivery.outlet(self.partition) as outlet:
            if not await self._seek():
                return
            async with asyncio.TaskGroup() as tasks:
                self._delivering = tasks.create_task(self._deliver_always(outlet))
                try:
                    await self._take_always(tasks)
                    await self._is_empty.wait()
                finally:
                    self._delivering.cancel()

    async def _seek(self) -> bool:
        """Go to the committed offset, or without one to the beginning; False when revoked."""
        consumer, partition = self._works.consumer, self.partition
        # Not seek_to_committed(): it does nothing when the committed offset is 0 or missing.
        offset = await consumer.committed(partition)
        if offset is None:
            offset = await self._first_offset()
        if self._is_stopping:
            return False
        consumer.seek(partition, offset)
        _LOG.info(
            "partition.opened", topic=partition.topic, partition=partition.partition, offset=offset
        )
        return True

    async def _first_offset(self) -> int:
        async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
            first = await self._works.consumer.beginning_offsets([self.partition])
        return first[self.partition]

    async def _take_always(self, tasks: asyncio.TaskGroup) -> None:
        options = self._works.options
        while not self._is_stopping:
            await self._wait_room()
            messages = await self._take()
            # Checked after every wait: records that came while the partition went are not ours.
            if self._is_stopping:
                return
            if not messages:
                continue
            requests = Requests(messages, default_deadline_seconds=options.default_deadline_seconds)
            batch = _Batch(requests, tasks.create_task(self._answer(requests)))
            self._board(batch)
            # Taking from a full buffer does not suspend, and the others want their turn.
            await asyncio.sleep(0)

    async def _wait_room(self) -> None:
        """Return at once while there is room; otherwise pause the partition until there is."""
        if self._has_room.is_set() or self._is_stopping:
            return
        consumer, partition = self._works.consumer, self.partition
        consumer.pause(partition)
        try:
            await self._has_room.wait()
        finally:
            if not self._is_stopping:
                consumer.resume(partition)

    async def _take(self) -> Sequence[Message]:
        consumer, partition = self._works.consumer, self.partition
        try:
            # Invariant: never under wait_for; a cancelled getmany breaks the consumer's liveness.
            found = await consumer.getmany(
                partition, timeout_ms=_POLL_MS, max_records=self._works.options.max_batch_records
            )
        except OffsetOutOfRange:
            first = await self._first_offset()
            if not self._is_stopping:
                position = await consumer.position(partition)
                # Retention or an operator removed requests that nobody had answered.
                _LOG.error(
                    "requests.lost",
                    topic=partition.topic,
                    partition=partition.partition,
                    position=position,
                    first=first,
                )
                consumer.seek(partition, first)
            return ()
        return found.get(partition, ())

    async def _answer(self, requests: Requests) -> list[Outgoing]:
        works = self._works
        await works.replies.address(requests)
        await answer(requests, works.serving_map)
        return works.replies.compose(requests)

    async def _deliver_always(self, outlet: Outlet) -> None:
        """Deliver batches in the order in which they were taken, what is ready together."""
        ready: list[_Batch] = []
        try:
            while True:
                await self._has_batch.wait()
                ready.append(self._flight.popleft())
                outgoing = list(await ready[0].answering)
                while self._flight and self._flight[0].answering.done():
                    ready.append(self._flight.popleft())
                    outgoing += ready[-1].answering.result()
                if not self._flight:
                    self._has_batch.clear()
                await outlet.deliver(outgoing, ready[-1].requests.next_offset)
                self._land(ready, len(outgoing))
                ready.clear()
        finally:
            # Abandoned: whoever waits for us to drain need not wait any longer.
            for batch in (*ready, *self._flight):
                batch.answering.cancel()
            self._flight.clear()
            self._is_empty.set()

    def _board(self, batch: _Batch) -> None:
        self._flight.append(batch)
        self._has_batch.set()
        self._batches += 1
        self._bytes += batch.size_bytes
        self._is_empty.clear()
        self._measure()

    def _land(self, batches: list[_Batch], records: int) -> None:
        now = time.monotonic()
        for batch in batches:
            self._batches -= 1
            self._bytes -= batch.size_bytes
        requests = [batch.requests for batch in batches]
        _LOG.debug(
            "batch.answered",
            topic=self.partition.topic,
            partition=self.partition.partition,
            offset=requests[0].messages[0].offset,
            requests=sum(len(each.messages) for each in requests),
            records=records,
            errors=sum(
                1 for each in requests for a in each.answers if a is None or a.code is not Code.OK
            ),
            duration_seconds=round(now - batches[0].taken_at, 6),
        )
        if not self._batches:
            self._is_empty.set()
        self._measure()

    def _measure(self) -> None:
        options = self._works.options
        has_room = (
            self._batches < options.max_in_flight_batches
            and self._bytes < options.max_in_flight_bytes
        )
        if has_room or self._is_stopping:
            self._has_room.set()
        else:
            self._has_room.clear()
