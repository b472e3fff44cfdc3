"""Reads one partition from its beginning: all that is there, then what arrives.

Owns the position and the words for a broker that stops answering. Does not know what the records
mean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from headrace.publisher.clients import AIOKafkaConsumer, KafkaError, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, BrokerUnreachable
from headrace.publisher.topics import require_topics

_POLL_SECONDS: Final = 0.5


class Tail:
    """One partition of one topic, read by an assigned consumer without a group.

    **Concurrency:** one reader.

    Cancellation: a cancelled read loses no record that was returned; the tail should then be
    closed, because aiokafka does not count a cancelled poll as finished.
    """

    def __init__(
        self, connection: KafkaConnection, consumer: AIOKafkaConsumer, partition: TopicPartition
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._partition = partition

    async def to_end(self) -> AsyncIterator[Message]:
        """Yield what lies between the position and the end offset of this moment.

        Raises:
            BrokerUnreachable: the broker stopped answering on the way.
            BrokerRefused: the broker will not let us read.
        """
        silence = self._connection.connect_timeout_seconds
        end = (await self._bounds())[1]
        last_progress = time.monotonic()
        position = await self._consumer.position(self._partition)
        while position < end:
            for message in await self.poll(_POLL_SECONDS):
                if message.offset < end:
                    last_progress = time.monotonic()
                yield message
            position = await self._consumer.position(self._partition)
            if position < end and time.monotonic() - last_progress > silence:
                raise BrokerUnreachable(
                    f"Kafka at {self._connection.bootstrap_servers} stopped answering: read "
                    f"{self._partition.topic} to offset {position} of {end}, then nothing for "
                    f"{silence:g} s: try again when the broker is back"
                )

    async def poll(self, timeout_seconds: float) -> list[Message]:
        """Return the records that arrived, waiting at most `timeout_seconds` for the first."""
        # Invariant: never under wait_for; a cancelled getmany breaks the consumer's liveness.
        try:
            batches = await self._consumer.getmany(
                self._partition, timeout_ms=max(1, int(timeout_seconds * 1000))
            )
        except KafkaError as error:
            raise BrokerRefused(
                f"Kafka would not let us read {self._partition.topic!r}: {error!r}"
            ) from error
        return batches.get(self._partition, [])

    async def rewind(self) -> None:
        """Go to the first record that the partition still holds."""
        self._consumer.seek(self._partition, (await self._bounds())[0])

    async def _bounds(self) -> tuple[int, int]:
        try:
            async with asyncio.timeout(self._connection.connect_timeout_seconds):
                first = await self._consumer.beginning_offsets([self._partition])
                end = await self._consumer.end_offsets([self._partition])
        except (TimeoutError, KafkaError) as error:
            raise BrokerUnreachable(
                f"Kafka at {self._connection.bootstrap_servers} did not say where "
                f"{self._partition.topic!r} ends ({error!r}): try again when the broker is back"
            ) from error
        return first[self._partition], end[self._partition]


@asynccontextmanager
async def tail(connection: KafkaConnection, topic: str) -> AsyncGenerator[Tail, None]:
    """Open partition 0 of a topic at its beginning.

    Raises:
        BrokerUnreachable: no broker answered.
        TopicMismatch: the topic does not exist.
    """
    await require_topics(connection, [topic])
    partition = TopicPartition(topic, 0)
    async with connection.consumer(fetch_max_wait_ms=250) as consumer:
        consumer.assign([partition])
        reader = Tail(connection, consumer, partition)
        await reader.rewind()
        yield reader
