"""At least once: answers are confirmed, then offsets committed.

What happens in between may be answered again, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from headrace.consumer.stream.clients import TopicPartition
from headrace.consumer.stream.commits import Commits
from headrace.consumer.stream.delivery import BATCH_BYTES, Sending, discard
from headrace.consumer.stream.destinations import Destinations
from headrace.consumer.stream.outgoing import Parcel
from headrace.publisher.connection import KafkaConnection


class AtLeastOnce:
    """Every request is answered at least once.

    Each partition has a producer of its own, so that a failed one disturbs no other partition.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        destinations: Destinations,
        commits: Commits,
        own: Collection[str],
    ) -> None:
        self.connection = connection
        self.destinations = destinations
        self.commits = commits
        self.own = own

    def outlet(self, partition: TopicPartition) -> AtLeastOnceOutlet:
        """Return the outlet of one partition."""
        return AtLeastOnceOutlet(self, partition)

    async def flush(self, partitions: Collection[TopicPartition]) -> None:
        """Commit these partitions now."""
        await self.commits.flush(partitions)

    async def run(self) -> None:
        """Commit a few times a second, for ever."""
        await self.commits.run()


class AtLeastOnceOutlet:
    """One partition's idempotent producer.

    **Concurrency:** one task.
    """

    interval_seconds = 0.0

    def __init__(self, delivery: AtLeastOnce, partition: TopicPartition) -> None:
        self._delivery = delivery
        self._partition = partition
        self._opened = AsyncExitStack()
        self._sending: Sending | None = None

    async def __aenter__(self) -> Self:
        """Open the producer; what an outlet before this one confirmed is committed first."""
        delivery = self._delivery
        await delivery.commits.flush([self._partition])
        producer = await self._opened.enter_async_context(
            delivery.connection.producer(
                acks="all",
                linger_ms=0,  # batches are handed over whole
                max_batch_size=BATCH_BYTES,
            )
        )
        self._sending = Sending(producer, delivery.destinations, delivery.own)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await discard(self._opened)

    async def send(self, parcels: Iterable[Parcel]) -> None:
        """Send records; see `delivery.Outlet`."""
        assert self._sending is not None, "an outlet is entered before it is used"
        await self._sending.send(parcels)

    async def commit(self, next_offset: int) -> None:
        """Wait for every confirmation; then let the offset be committed."""
        assert self._sending is not None, "an outlet is entered before it is used"
        await self._sending.confirm()
        self._delivery.commits.note(self._partition, next_offset)
