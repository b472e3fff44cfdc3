"""How answers and input offsets become durable: the seam between delivery guarantees.

`AtLeastOnce` confirms the answers first and commits the offsets after, so that what happens in
between may be answered again, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Protocol, Self

import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.stream.clients import (
    AIOKafkaProducer,
    BatchBuilder,
    KafkaError,
    TopicPartition,
)
from headrace.consumer.stream.commits import Commits
from headrace.consumer.stream.destinations import Destinations
from headrace.consumer.stream.outgoing import Outgoing, Shipment
from headrace.consumer.stream.replies import Replies
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.publisher.outage import Outage

_LOG: Final = structlog.get_logger(__name__)
_BATCH_BYTES: Final = 512 * 1024
_ACK_PATIENCE_SECONDS: Final = 3.0
# Errors of a producer that has had an error before: they say nothing of the record.
_AFTERMATH: Final = frozenset({"OutOfOrderSequenceNumber", "ProducerFenced", "ProducerClosed"})


class Outlet(Protocol):
    """Where the answers to one input partition go; an async context manager while it is ours.

    **Concurrency:** one task; deliveries follow each other.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...

    async def deliver(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        """Return when the records are durable, and `next_offset` is or is going to be.

        Cancellation: the records may or may not arrive; the offset does not move.
        """
        ...


class Delivery(Protocol):
    """A delivery guarantee."""

    def outlet(self, partition: TopicPartition) -> Outlet:
        """Return the outlet of a partition that was just assigned.

        It is entered before the partition's committed offset is read.
        """
        ...


class AtLeastOnce:
    """Every request is answered at least once: answers are confirmed, then offsets committed.

    Each partition has a producer of its own, so that a failed one disturbs no other partition.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        replies: Replies,
        destinations: Destinations,
        commits: Commits,
    ) -> None:
        self.connection = connection
        self.replies = replies
        self.destinations = destinations
        self.commits = commits

    def outlet(self, partition: TopicPartition) -> Outlet:
        """Return the outlet of one partition."""
        return _AtLeastOnceOutlet(self, partition)


class _AtLeastOnceOutlet:
    """One partition's producer, replaced after every failure.

    **Concurrency:** one task.
    """

    def __init__(self, delivery: AtLeastOnce, partition: TopicPartition) -> None:
        self._delivery = delivery
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None
        self._opened = AsyncExitStack()
        self._outage = Outage(f"answers to {partition.topic}/{partition.partition}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._discard()

    async def deliver(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        """Send until everything is confirmed; then let the offset be committed."""
        pauses = backoff(0.1, 3.0)
        refusals: dict[str, str] = {}
        while outgoing:
            shipments = self._delivery.replies.ship(outgoing, refusals)
            try:
                with strays_as_errors():
                    await self._send(shipments, refusals)
                break
            # An AssertionError is aiokafka's word for a partition that it has not heard of yet.
            except (KafkaError, PublisherError, TimeoutError, AssertionError) as error:
                self._outage.went_on(error)
            # A failed send leaves a gap in the sequence that the broker never forgives a producer.
            await self._discard()
            await asyncio.sleep(next(pauses))
            await self._delivery.destinations.look_again({each.topic for each in shipments})
            await self._delivery.replies.wait_topics()
        self._outage.ended()
        self._delivery.commits.note(self._partition, next_offset)

    async def _send(self, shipments: Sequence[Shipment], refusals: dict[str, str]) -> None:
        """Send everything and wait for every confirmation.

        Raises:
            KafkaError: something failed. Topics of others that refused for good are in `refusals`.
        """
        producer = await self._open()
        sent: list[tuple[str, asyncio.Future[Any]]] = []
        for shipment in shipments:
            for batch in _batches(producer, shipment):
                future = await producer.send_batch(
                    batch, shipment.topic, partition=shipment.partition
                )
                future.add_done_callback(_look_at)
                sent.append((shipment.topic, future))
        await self._confirm([future for _, future in sent], {topic for topic, _ in sent})
        failures = [(topic, error) for topic, future in sent if (error := future.exception())]
        for topic, error in failures:
            name = type(error).__name__
            is_final = isinstance(error, KafkaError) and not getattr(error, "retriable", False)
            if is_final and name not in _AFTERMATH and not self._delivery.replies.is_own(topic):
                refusals[topic] = name
        if failures:
            raise failures[0][1]

    async def _confirm(self, futures: Sequence[asyncio.Future[Any]], topics: set[str]) -> None:
        """Return when every future is done; raise when a topic is gone, for that takes for ever."""
        while True:
            _, waiting = await asyncio.wait(futures, timeout=_ACK_PATIENCE_SECONDS)
            if not waiting:
                return
            self._outage.went_on("answers are sent and not confirmed")
            await self._delivery.destinations.look_again(topics)
            gone = [t for t in topics if self._delivery.destinations.get(t) is None]
            if gone:
                raise KafkaError(f"topic {gone[0]} does not exist any more")

    async def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = await self._opened.enter_async_context(
                self._delivery.connection.producer(
                    acks="all",
                    linger_ms=0,  # batches are handed over whole
                    compression_type="lz4",
                    max_batch_size=_BATCH_BYTES,
                )
            )
        return self._producer

    async def _discard(self) -> None:
        self._producer = None
        try:
            with strays_as_errors():
                await self._opened.aclose()
        except KafkaError as error:
            _LOG.debug("producer.close_failed", reason=str(error))


def _batches(producer: AIOKafkaProducer, shipment: Shipment) -> list[BatchBuilder]:
    """Pack a shipment: as many records in a batch as the producer and the topic take."""
    batches = [producer.create_batch()]
    is_narrow, used = shipment.max_bytes < _BATCH_BYTES, 0
    for record in shipment.records:
        _, _, key, value, headers, *_ = record
        if is_narrow:
            used += record.size_bytes
        if used > shipment.max_bytes or (
            batches[-1].append(timestamp=None, key=key, value=value, headers=headers) is None
        ):
            batches.append(producer.create_batch())
            batches[-1].append(timestamp=None, key=key, value=value, headers=headers)
            used = record.size_bytes if is_narrow else 0
    for batch in batches:
        batch.close()
    return batches


def _look_at(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting a failure that the first failure has reported."""
    if not future.cancelled():
        future.exception()
