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
from headrace.consumer.stream.answering import Versions, answer
from headrace.consumer.stream.clients import GroupConsumer, TopicPartition
from headrace.consumer.stream.delivery import FAILURES, Delivery, Outlet
from headrace.consumer.stream.flight import Batch, Flight
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.reading import Reading
from headrace.consumer.stream.replies import Replies
from headrace.consumer.stream.requests import Requests
from headrace.consumer.stream.source import Source
from headrace.consumer.stream.waiting import parts
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.outage import Outage

_LOG: Final = structlog.get_logger(__name__)
_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Works:
    """What all pipelines of one session share."""

    consumer: GroupConsumer
    delivery: Delivery
    intake: Intake
    replies: Replies
    versions: Versions
    options: StreamOptions
    source: Source


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
        self._reading = Reading(
            works.consumer,
            partition,
            works.options.max_batch_records,
            is_stopping=lambda: self._is_stopping,
            end=works.source.end_offset(partition),
        )

    def stop(self) -> None:
        """Take nothing more. What is in flight goes on, but for what waits for a control record."""
        self._is_stopping = True
        self._flight.drop_waiting()

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
        """Work until stopped and drained, or abandoned, or to the end of the source.

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
        """Go to where to begin; False when revoked."""
        if self._predecessor is not None:
            # It may still be inside getmany since before the rebalance. What it is handed there it
            # throws away, and the position has moved on: seeking earlier would lose those records.
            await self._predecessor.wait_left()
            self._predecessor = None
        return await self._reading.seek()

    async def _take_always(self, tasks: asyncio.TaskGroup, flight: Flight) -> None:
        """Take batches until stopped, until delivering fails, or to the end of the source."""
        reading, source = self._reading, self._works.source
        while not self._is_stopping and flight.failure is None and not await reading.is_over():
            await reading.wait_room(flight)
            messages = await reading.take()
            requests = await source.requests(messages) if messages else None
            # Checked after every wait: records that came while the partition went are not ours.
            if self._is_stopping or flight.failure is not None:
                return
            if requests is None:
                continue
            for part in parts(requests, self._works.versions):
                batch = Batch(part, tasks.create_task(self._answer(part)))
                reading.note_size(batch.size_bytes / max(1, len(batch)))
                flight.board(batch)
            # Taking from a full buffer does not suspend, and the others want their turn.
            await asyncio.sleep(0)

    async def _answer(self, requests: Requests) -> None:
        works = self._works
        await works.replies.address(requests)
        await works.intake.prepare(requests)
        await answer(requests, requests.groups(), works.versions)
        if requests.claims:
            await works.intake.follow_claims(requests, works.versions)

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
        self._works.source.note_committed(self.partition, [each.requests for each in sent])
        self._log(sent, records)

    def _new_flight(self) -> Flight:
        return Flight(self._works.options.max_in_flight_records, self._max_bytes)

    def _log(self, batches: Sequence[Batch], records: int) -> None:
        requests = [batch.requests for batch in batches]
        _LOG.debug(
            "batch.answered",
            topic=self.partition.topic,
            partition=self.partition.partition,
            next_offset=requests[-1].next_offset,
            requests=records,
            errors=sum(len(each.faults) for each in requests),
            duration_seconds=round(time.monotonic() - batches[0].taken_at, 6),
        )
