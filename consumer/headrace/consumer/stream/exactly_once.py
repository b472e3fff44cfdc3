"""Exactly once: answers, dead letters and the input offset in one Kafka transaction.

One transactional id for each input partition. Whoever gets a partition opens its outlet first,
which fences the former owner and ends its transaction, and reads the committed offset after that.
aiokafka's offset commit inside a transaction carries no group generation, so nothing but the
transactional id keeps a stalled node from committing behind the back of its successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self, cast

from headrace.consumer.stream.clients import TopicPartition, TransactionalProducer
from headrace.consumer.stream.delivery import BATCH_BYTES, Sending, discard
from headrace.consumer.stream.destinations import Destinations
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Parcel
from headrace.publisher.connection import KafkaConnection

# After a step that took longer, the producer is not used again: a delayed request of it could
# otherwise land in a later transaction.
_STEP_SECONDS: Final = 12.0
_TRANSACTION_TIMEOUT_MS: Final = 15_000
_OPEN_SECONDS: Final = 20.0
# A transaction begun while the broker still writes the markers of the last one has to try again; at
# aiokafka's own 100 ms that was the tail of a lone request.
_RETRY_BACKOFF_MS: Final = 10


class ExactlyOnce:
    """Every request is answered by exactly one committed answer.

    **Concurrency:** event loop only. Transactions of different partitions overlap.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        destinations: Destinations,
        options: StreamOptions,
        own: Collection[str],
    ) -> None:
        self.connection = connection
        self.destinations = destinations
        self.options = options
        self.own = own

    def outlet(self, partition: TopicPartition) -> ExactlyOnceOutlet:
        """Return the outlet of one partition."""
        return ExactlyOnceOutlet(self, partition)

    async def flush(self, partitions: Collection[TopicPartition]) -> None:
        """Do nothing: offsets are committed with their answers."""

    async def run(self) -> None:
        """Do nothing in the background."""


class ExactlyOnceOutlet:
    """One partition's transactional producer.

    **Concurrency:** one task.
    """

    def __init__(self, delivery: ExactlyOnce, partition: TopicPartition) -> None:
        self._delivery = delivery
        self._partition = partition
        self._group = delivery.options.group
        self.interval_seconds = delivery.options.transaction_interval_seconds
        self._opened = AsyncExitStack()
        self._producer: TransactionalProducer | None = None
        self._sending: Sending | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Become the only writer for the partition, and end what the former one had begun.

        Raises:
            KafkaError: or another of `FAILURES`; it can be tried again.
        """
        topic, number = self._partition.topic, self._partition.partition
        delivery = self._delivery
        async with asyncio.timeout(_OPEN_SECONDS):
            opened = await self._opened.enter_async_context(
                delivery.connection.producer(
                    transactional_id=f"headrace.{self._group}.{topic}.{number}",
                    transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
                    retry_backoff_ms=_RETRY_BACKOFF_MS,
                    linger_ms=0,  # batches are handed over whole
                    max_batch_size=BATCH_BYTES,
                )
            )
        self._producer = cast("TransactionalProducer", opened)
        self._sending = Sending(opened, delivery.destinations, delivery.own)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An open transaction is not aborted here: the next producer of the same id does that.
        await discard(self._opened)

    async def send(self, parcels: Iterable[Parcel]) -> None:
        """Send records into the transaction, which begins with the first."""
        async with asyncio.timeout(_STEP_SECONDS):
            _, sending = await self._begun()
            await sending.send(parcels)

    async def commit(self, next_offset: int) -> None:
        """Add the offset, wait until every record is confirmed, and only then commit.

        aiokafka commits a transaction although one of its records was refused.
        """
        async with asyncio.timeout(_STEP_SECONDS):
            producer, sending = await self._begun()
            offsets = {self._partition: next_offset}
            # Both to their ends: which topic refused is to be known before the next attempt.
            outcomes = await asyncio.gather(
                sending.confirm(),
                producer.send_offsets_to_transaction(offsets, self._group),
                return_exceptions=True,
            )
            for failure in outcomes:
                if failure is not None:
                    raise failure
            await producer.commit_transaction()
        self._is_open = False

    async def _begun(self) -> tuple[TransactionalProducer, Sending]:
        """Return the producer inside a transaction, and what it has sent."""
        assert self._producer is not None, "an outlet is entered before it is used"
        assert self._sending is not None, "an outlet is entered before it is used"
        if not self._is_open:
            await self._producer.begin_transaction()
            self._is_open = True
        return self._producer, self._sending
