"""Reads stretches of partitions: from one offset to another, and no further.

Owns the words for a broker that stops answering. Does not know what the records mean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from headrace.publisher.clients import AIOKafkaConsumer, KafkaError, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, BrokerUnreachable

# How long a stretch that ends with a marker of a transaction, which is no record, is waited for.
_POLL_MS: Final = 25
# How long the broker may keep a fetch that finds nothing: at the end of a stretch there always is
# one, and whatever is asked next on the connection waits for it.
_FETCH_WAIT_MS: Final = 25


class SpanReader:
    """A consumer without a group that reads one stretch at a time.

    **Concurrency:** one task; one stretch is read to its end, or given up, before the next.

    Cancellation: close the reader then, because aiokafka does not count a cancelled poll as
    finished.
    """

    def __init__(self, connection: KafkaConnection, consumer: AIOKafkaConsumer) -> None:
        self._connection = connection
        self._consumer = consumer

    async def bounds(
        self, partition: TopicPartition, since_ms: int | None = None
    ) -> tuple[int, int]:
        """Return the first offset of a partition that exists and the one behind its last.

        A reader of committed records ends where the first open transaction begins.

        With `since_ms`, the first offset of a record with that timestamp or a later one.

        Raises:
            BrokerUnreachable: the broker did not say in time.
        """
        consumer = self._consumer
        try:
            async with asyncio.timeout(self._connection.connect_timeout_seconds):
                first = (await consumer.beginning_offsets([partition]))[partition]
                end = (await consumer.end_offsets([partition]))[partition]
                if since_ms is not None:
                    found = await consumer.offsets_for_times({partition: max(0, since_ms)})
                    at = found[partition]
                    first = end if at is None else at.offset
        except (TimeoutError, KafkaError) as error:
            raise BrokerUnreachable(
                f"Kafka at {self._connection.bootstrap_servers} did not say where "
                f"{partition.topic!r} begins and ends ({error!r}): try again when it is back"
            ) from error
        return first, end

    async def read(self, partition: TopicPartition, start: int, end: int) -> AsyncIterator[Message]:
        """Yield the records from offset `start` on that lie before `end`, which must have existed.

        Raises:
            BrokerUnreachable: the broker stopped answering on the way.
            BrokerRefused: the broker will not let us read.
        """
        if start >= end:
            return
        self._consumer.assign([partition])
        self._consumer.seek(partition, start)
        silence = self._connection.connect_timeout_seconds
        position, moved_at = start, time.monotonic()
        # The position and not the records: aborted ones and markers take offsets, too.
        while position < end:
            for message in await self._poll(partition):
                if start <= message.offset < end:
                    yield message
            before, position = position, await self._consumer.position(partition)
            if position != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > silence:
                raise BrokerUnreachable(
                    f"Kafka at {self._connection.bootstrap_servers} stopped answering: read "
                    f"{partition.topic} to offset {position} of {end}, then nothing for "
                    f"{silence:g} s: try again when the broker is back, or when whoever has a "
                    "transaction open there has ended it"
                )

    async def _poll(self, partition: TopicPartition) -> list[Message]:
        # Invariant: never under wait_for; a cancelled getmany breaks the consumer's liveness.
        try:
            batches = await self._consumer.getmany(partition, timeout_ms=_POLL_MS)
        except KafkaError as error:
            raise BrokerRefused(
                f"Kafka would not let us read {partition.topic!r}: {error!r}"
            ) from error
        return batches.get(partition, [])


@asynccontextmanager
async def span_reader(
    connection: KafkaConnection,
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed",
) -> AsyncGenerator[SpanReader, None]:
    """Open a reader; raises BrokerUnreachable or BrokerRefused."""
    async with connection.consumer(
        fetch_max_wait_ms=_FETCH_WAIT_MS, isolation_level=isolation_level
    ) as consumer:
        yield SpanReader(connection, consumer)
