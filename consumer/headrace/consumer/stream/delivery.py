"""How answers and input offsets become durable: the seam between delivery guarantees.

`AtLeastOnce` confirms answers first and commits offsets after; `ExactlyOnce` puts both into one
transaction. What they share is here: a producer whose every record is confirmed or which is thrown
away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Final, Protocol, Self

from headrace.consumer.stream.clients import (
    AIOKafkaProducer,
    IllegalOperation,
    KafkaError,
    TopicPartition,
)
from headrace.consumer.stream.destinations import Destinations
from headrace.consumer.stream.outgoing import Parcel, pack
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.errors import PublisherError

BATCH_BYTES: Final = 960 * 1024
# An AssertionError is aiokafka's word for a partition that it has not heard of yet, and for a
# transaction that a fatal error has ended; IllegalOperation is none of its KafkaErrors.
FAILURES: Final = (KafkaError, PublisherError, TimeoutError, AssertionError, IllegalOperation)
_ACK_PATIENCE_SECONDS: Final = 3.0
# Errors of a producer that has had an error before, or was closed: they say nothing of the record.
_AFTERMATH: Final = frozenset(
    {
        "InvalidProducerIdMapping",
        "InvalidTxnState",
        "KafkaError",
        "OutOfOrderSequenceNumber",
        "ProducerClosed",
        "ProducerFenced",
    }
)


class Outlet(Protocol):
    """Where the answers to one input partition go; an async context manager while it is ours.

    A send or a commit that failed leaves the outlet useless: what was not committed is to be
    taken from the committed offset on, and answered through the next outlet.

    **Concurrency:** one task.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...

    @property
    def interval_seconds(self) -> float:
        """The shortest time between two commits while there are few records."""
        ...

    async def send(self, parcels: Iterable[Parcel]) -> None:
        """Send records; they count when they are committed.

        Raises:
            KafkaError: or another of `FAILURES`.
        """
        ...

    async def commit(self, next_offset: int) -> None:
        """Make durable what was sent, and that everything before `next_offset` is answered.

        Raises:
            KafkaError: or another of `FAILURES`; whether it is durable is not known.

        Cancellation: as an error.
        """
        ...


class Delivery(Protocol):
    """A delivery guarantee."""

    def outlet(self, partition: TopicPartition) -> Outlet:
        """Return a new outlet for a partition that is ours.

        It is entered before the partition's committed offset is read.
        """
        ...

    async def flush(self, partitions: Collection[TopicPartition]) -> None:
        """Return when the offsets of these partitions are committed, as far as they can be."""
        ...

    async def run(self) -> None:
        """Do what has to be done in the background, until cancelled."""
        ...


class Sending:
    """What one producer has sent and the broker has not confirmed.

    **Concurrency:** one task.
    """

    def __init__(
        self, producer: AIOKafkaProducer, destinations: Destinations, own: Collection[str]
    ) -> None:
        self._producer = producer
        self._destinations = destinations
        self._own = own
        self._sent: list[tuple[str, asyncio.Future[Any]]] = []

    async def send(self, parcels: Iterable[Parcel]) -> None:
        """Hand everything to the producer.

        Raises:
            KafkaError: the producer would not take it.
        """
        producer = self._producer
        for parcel in parcels:
            for batch in pack(producer, parcel, BATCH_BYTES):
                future = await producer.send_batch(batch, parcel.topic, partition=parcel.partition)
                future.add_done_callback(_look_at)
                self._sent.append((parcel.topic, future))

    async def confirm(self) -> None:
        """Return when everything sent is confirmed.

        Raises:
            KafkaError: something failed. A topic of somebody else that refused for good is marked
                as refusing, so that the next attempt does without it.
        """
        sent, self._sent = self._sent, []
        await self._wait([future for _, future in sent], {topic for topic, _ in sent})
        failures = [(topic, error) for topic, future in sent if (error := future.exception())]
        for topic, error in failures:
            name = type(error).__name__
            is_final = isinstance(error, KafkaError) and not getattr(error, "retriable", False)
            if is_final and name not in _AFTERMATH and topic not in self._own:
                self._destinations.refuse(topic, name)
        if failures:
            await self._destinations.look_again({topic for topic, _ in failures})
            raise failures[0][1]

    async def _wait(self, futures: Collection[asyncio.Future[Any]], topics: set[str]) -> None:
        """Return when every future is done; raise when a topic is gone, for that takes for ever."""
        while futures:
            _, waiting = await asyncio.wait(futures, timeout=_ACK_PATIENCE_SECONDS)
            if not waiting:
                return
            await self._destinations.look_again(topics)
            gone = [topic for topic in topics if self._destinations.get(topic) is None]
            if gone:
                raise KafkaError(f"topic {gone[0]} does not exist any more")


async def discard(opened: AsyncExitStack) -> None:
    """Close what an outlet had open; how that goes does not matter any more."""
    with suppress(KafkaError), strays_as_errors():
        await opened.aclose()


def _look_at(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting a failure that the first failure has reported."""
    if not future.cancelled():
        future.exception()
