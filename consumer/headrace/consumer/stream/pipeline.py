"""One partition's way through the door: take, answer, deliver; several batches at a time, in order.

Owns the bounds on what is in flight, and the partition's position. A pipeline knows nothing of the
others: a slow model delays the partitions that carry its requests, and no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream.answering import answer
from headrace.consumer.stream.clients import (
    GroupConsumer,
    Message,
    OffsetOutOfRange,
    TopicPartition,
)
from headrace.consumer.stream.delivery import Delivery, Outlet
from headrace.consumer.stream.flight import Batch, Flight
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing
from headrace.consumer.stream.replies import Replies
from headrace.consumer.stream.requests import Requests

_LOG: Final = structlog.get_logger(__name__)
# How long a pipeline may stay inside getmany after its partition went, and so how long the next one
# for the same partition waits.
_POLL_MS: Final = 200
_LOOK_TIMEOUT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Works:
    """What all pipelines of one session share."""

    consumer: GroupConsumer
    delivery: Delivery
    replies: Replies
    serving_map: ServingMap
    options: StreamOptions


class Pipeline:
    """Answers the requests of one assigned partition.

    `predecessor` is the pipeline that had the partition before, on the same consumer.

    **Concurrency:** event loop only. `run` is one task; `stop` and `wait_drained` belong to
    whoever watches the group, and `abandon` ends what did not drain in time.
    """

    def __init__(
        self, partition: TopicPartition, works: Works, predecessor: Pipeline | None = None
    ) -> None:
        self.partition = partition
        self._works = works
        self._predecessor = predecessor
        self._has_left = asyncio.Event()
        self._flight = Flight(works.options)
        self._is_stopping = False
        self._delivering: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Take nothing more. What is in flight goes on."""
        self._is_stopping = True
        self._flight.open_up()

    async def wait_drained(self) -> None:
        """Return once everything that was taken is delivered."""
        await self._flight.wait_empty()

    async def wait_left(self) -> None:
        """Return once it will not touch the consumer any more."""
        await self._has_left.wait()

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
            try:
                if not await self._seek():
                    return
                async with asyncio.TaskGroup() as tasks:
                    self._delivering = tasks.create_task(self._deliver_always(outlet))
                    try:
                        await self._take_always(tasks)
                        self._has_left.set()
                        await self._flight.wait_empty()
                    finally:
                        self._delivering.cancel()
            finally:
                self._has_left.set()

    async def _seek(self) -> bool:
        """Go to the committed offset, or without one to the beginning; False when revoked."""
        consumer, partition = self._works.consumer, self.partition
        if self._predecessor is not None:
            # It may still be inside getmany since before the rebalance. What it is handed there it
            # throws away, and the position has moved on: seeking earlier would lose those records.
            await self._predecessor.wait_left()
            self._predecessor = None
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
            self._flight.board(Batch(requests, tasks.create_task(self._answer(requests))))
            # Taking from a full buffer does not suspend, and the others want their turn.
            await asyncio.sleep(0)

    async def _wait_room(self) -> None:
        """Return at once while there is room; otherwise pause the partition until there is."""
        if self._flight.has_room or self._is_stopping:
            return
        consumer, partition = self._works.consumer, self.partition
        consumer.pause(partition)
        try:
            await self._flight.wait_room()
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
        try:
            while True:
                ready = await self._flight.next_ready()
                outgoing = [record for batch in ready for record in batch.answering.result()]
                await outlet.deliver(outgoing, ready[-1].requests.next_offset)
                self._flight.land(len(ready))
                self._log(ready, len(outgoing))
        finally:
            # Abandoned: whoever waits for us to drain need not wait any longer.
            self._flight.give_up()

    def _log(self, batches: Sequence[Batch], records: int) -> None:
        requests = [batch.requests for batch in batches]
        _LOG.debug(
            "batch.answered",
            topic=self.partition.topic,
            partition=self.partition.partition,
            offset=requests[0].messages[0].offset,
            requests=sum(len(each.messages) for each in requests),
            records=records,
            errors=sum(each.errors for each in requests),
            duration_seconds=round(time.monotonic() - batches[0].taken_at, 6),
        )
