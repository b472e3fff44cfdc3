"""Reads the response topic from the moment of opening, and hands answers to those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from headrace.publisher.clients import AIOKafkaConsumer, KafkaError, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerUnreachable, InferenceFailed
from headrace.publisher.inference import read_answer
from headrace.publisher.outstanding import Outstanding
from headrace.schemas.topics import RequestHeader

_POLL_MS: Final = 1000
_POLL_RECORDS: Final = 2000


class Replies:
    """The response topic, read without a consumer group.

    **Concurrency:** one task reads.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def read(self, outstanding: Outstanding) -> None:
        """Settle what is outstanding, until cancelled or unable to read on.

        When it cannot read on, everything that waits fails, and so does what comes later.
        """
        try:
            while True:
                # Invariant: never under wait_for; a cancelled getmany breaks the consumer.
                batches = await self._consumer.getmany(
                    timeout_ms=_POLL_MS, max_records=_POLL_RECORDS
                )
                for messages in batches.values():
                    for message in messages:
                        _settle(message, outstanding)
                # getmany does not pause while it has records left, and others want to send.
                await asyncio.sleep(0)
        except Exception as error:  # door: the callers hear of it, not the task group
            failure = InferenceFailed("UNAVAILABLE", f"answers cannot be read: {error!r}")
            outstanding.fail(failure)


@asynccontextmanager
async def replies(
    connection: KafkaConnection, topic: str, partitions: int
) -> AsyncGenerator[Replies, None]:
    """Open all partitions of a response topic at their ends.

    Raises:
        BrokerUnreachable: no broker answered.
    """
    assigned = [TopicPartition(topic, number) for number in range(partitions)]
    async with connection.consumer(isolation_level="read_committed") as consumer:
        consumer.assign(assigned)
        try:
            async with asyncio.timeout(connection.connect_timeout_seconds):
                ends = await consumer.end_offsets(assigned)
        except (TimeoutError, KafkaError) as error:
            raise BrokerUnreachable(
                f"Kafka at {connection.bootstrap_servers} did not say where {topic!r} ends "
                f"({error!r}): try again when the broker is back"
            ) from error
        for partition, end in ends.items():
            consumer.seek(partition, end)
        yield Replies(consumer)


def _settle(message: Message, outstanding: Outstanding) -> None:
    for name, value in message.headers:
        if name == RequestHeader.CORRELATION_ID:
            # Most answers may be for other clients: nothing of them is decoded.
            if outstanding.is_waiting(value):
                outstanding.settle(value, read_answer(message))
            return
