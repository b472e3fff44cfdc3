"""One partition's way through the door: take, answer, send, commit; batches overlap, in order.

Owns the bounds on what is in flight, and the partition's position. A pipeline knows nothing of the
others: a slow model delays the partitions that carry its requests, and no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream.answering import answer
from headrace.consumer.stream.clients import (
    GroupConsumer,
    Message,
    OffsetOutOfRange,
    TopicPartition,
)
from headrace.consumer.stream.delivery import FAILURES, Delivery, Outlet
from headrace.consumer.stream.flight import Batch, Flight
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.replies import Replies
from headrace.consumer.stream.requests import Requests
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.outage import Outage

_LOG: Final = structlog.get_logger(__name__)
# How long a pipeline may stay inside getmany after its partition went, and so how long the next one
# for the same partition waits.
_POLL_MS: Final = 200
_LOOK_TIMEOUT_SECONDS: Final = 15.0
# What is taken at once, in bytes: with large records, fewer of them.
_TAKE_BYTES: Final = 4 * 2**20
_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Works:
    """What all pipelines of one session share."""

    consumer: GroupConsumer
    delivery: Delivery
    intake: Intake
    replies: Replies
    serving_map: ServingMap
    options: StreamOptions


class Pipeline:
    """Answers the requests of one assigned partition.

    Whatever fails between taking and committing is taken again from the committed offset, through
    a new outlet.

    **Concurrency:** event loop only. `run` is one task; `stop` and `wait_drained` belong to
    whoever watches the group, and `abandon` ends what did not drain in time.

    Args:
        partition: the partition.
        works: what it works with.
        max_bytes: returns how many bytes it may have in flight now.
        predecessor: the pipeline that had the partition before, on the same consumer.
    """

    def __init__(
        self,
        partition: TopicPartition,
        works: Works,
        max_bytes: Callable[[], float],
        predecessor: Pipeline | None = None,
    ) -> None:
        self.partition = partition
        self._works = works
        self._max_bytes = max_bytes
        self._predecessor = predecessor
        self._has_left = asyncio.Event()
        self._flight = self._new_flight()
        self._is_stopping = False
        self._delivering: asyncio.Task[None] | None = None
        self._outage = Outage(f"answers to {partition.topic}/{partition.partition}")
        self._committed_at = float("-inf")
        self._record_bytes = 1.0

    def stop(self) -> None:
        """Take nothing more. What is in flight goes on."""
        self._is_stopping = True
        self._flight.wake()

    async def wait_drained(self) -> None:
        """Return once everything that was taken is committed, or given up."""
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
        pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        try:
            while not self._is_stopping:
                begun_at = time.monotonic()
                failure = await self._attempt()
                if failure is None:
                    return
                self._outage.went_on(failure)
                if self._committed_at > begun_at:
                    pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
                await asyncio.sleep(next(pauses))
        finally:
            self._has_left.set()

    async def _attempt(self) -> BaseException | None:
        """Work with one outlet; return what ended it before its time."""
        async with AsyncExitStack() as opened:
            try:
                with strays_as_errors():
                    outlet = await opened.enter_async_context(
                        self._works.delivery.outlet(self.partition)
                    )
            except FAILURES as error:
                return error
            if self._is_stopping or not await self._seek():
                return None
            return await self._flow(outlet)

    async def _flow(self, outlet: Outlet) -> BaseException | None:
        flight = self._flight = self._new_flight()
        async with asyncio.TaskGroup() as tasks:
            self._delivering = tasks.create_task(self._deliver_always(outlet, flight))
            try:
                await self._take_always(tasks, flight)
                if self._is_stopping:
                    self._has_left.set()
                    await flight.wait_empty()
            finally:
                self._delivering.cancel()
        return flight.failure

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

    async def _take_always(self, tasks: asyncio.TaskGroup, flight: Flight) -> None:
        options = self._works.options
        while not self._is_stopping and flight.failure is None:
            await self._wait_room(flight)
            messages = await self._take()
            # Checked after every wait: records that came while the partition went are not ours.
            if self._is_stopping or flight.failure is not None:
                return
            if not messages:
                continue
            requests = Requests(messages, default_deadline_seconds=options.default_deadline_seconds)
            batch = Batch(requests, tasks.create_task(self._answer(requests)))
            self._record_bytes = max(1.0, batch.size_bytes / len(batch))
            flight.board(batch)
            # Taking from a full buffer does not suspend, and the others want their turn.
            await asyncio.sleep(0)

    async def _wait_room(self, flight: Flight) -> None:
        """Return at once while there is room; otherwise pause the partition until there is."""
        if flight.has_room or self._is_stopping:
            return
        consumer, partition = self._works.consumer, self.partition
        consumer.pause(partition)
        try:
            await flight.wait_room(lambda: self._is_stopping)
        finally:
            if not self._is_stopping:
                consumer.resume(partition)

    async def _take(self) -> Sequence[Message]:
        consumer, partition = self._works.consumer, self.partition
        most = min(self._works.options.max_batch_records, int(_TAKE_BYTES / self._record_bytes))
        try:
            # Invariant: never under wait_for; a cancelled getmany breaks the consumer's liveness.
            found = await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=max(1, most))
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

    async def _answer(self, requests: Requests) -> None:
        works = self._works
        await works.replies.address(requests)
        await works.intake.prepare(requests)
        await answer(requests, requests.groups(), works.serving_map)
        if requests.claims:
            await works.intake.follow_claims(requests, works.serving_map)

    async def _deliver_always(self, outlet: Outlet, flight: Flight) -> None:
        """Deliver batches in the order in which they were taken, until something fails."""
        failure: BaseException | None = None
        try:
            with strays_as_errors():
                while True:
                    await self._deliver(outlet, flight)
                    self._outage.ended()
        except FAILURES as error:
            failure = error
        finally:
            # Whoever waits for us to drain need not wait any longer.
            flight.give_up(failure)

    async def _deliver(self, outlet: Outlet, flight: Flight) -> None:
        """Send what is ready, and commit it when that is due."""
        options, sent = self._works.options, list[Batch]()
        records, due_at = 0, self._committed_at + outlet.interval_seconds
        while True:
            within_seconds = due_at - time.monotonic() if sent else None
            for batch in await flight.pick_up(within_seconds):
                await outlet.send(self._works.replies.compose(batch.requests))
                sent.append(batch)
                records += len(batch)
            is_due = time.monotonic() >= due_at or records >= options.max_transaction_records
            if sent and (is_due or self._is_stopping):
                break
        await outlet.commit(sent[-1].requests.next_offset)
        flight.land()
        self._committed_at = time.monotonic()
        self._log(sent, records)

    def _new_flight(self) -> Flight:
        return Flight(self._works.options.max_in_flight_records, self._max_bytes)

    def _log(self, batches: Sequence[Batch], records: int) -> None:
        requests = [batch.requests for batch in batches]
        _LOG.debug(
            "batch.answered",
            topic=self.partition.topic,
            partition=self.partition.partition,
            offset=requests[0].messages[0].offset,
            requests=records,
            errors=sum(len(each.faults) for each in requests),
            duration_seconds=round(time.monotonic() - batches[0].taken_at, 6),
        )
