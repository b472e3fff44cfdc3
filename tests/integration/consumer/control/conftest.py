"""A connection, and records put on topics, for the tests of both links to the fleet."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from headrace.publisher.clients import AIOKafkaProducer
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs

Put = Callable[[str, Sequence[tuple[bytes | None, bytes | None]]], Awaitable[int]]


@pytest.fixture
def connection(bootstrap_servers: str) -> KafkaConnection:
    return KafkaConnection(bootstrap_servers)


@pytest.fixture
async def topics(connection: KafkaConnection, topic_prefix: str) -> Topics:
    """Topics of this test alone, made with the settings of the product."""
    named = Topics(
        control=f"{topic_prefix}control",
        status=f"{topic_prefix}status",
        requests=f"{topic_prefix}requests",
        responses=f"{topic_prefix}responses",
        dead_letters=f"{topic_prefix}dead-letters",
    )
    await ensure_topics(connection, specs(named, request_partitions=2))
    return named


@pytest.fixture
async def producer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaProducer]:
    async with connection.producer(linger_ms=5) as opened:
        yield opened


@pytest.fixture
def put(producer: AIOKafkaProducer) -> Put:
    """Write records to partition 0 of a topic and return the last one's offset."""

    async def write(topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> int:
        futures = [
            await producer.send(topic, key=key, value=value, partition=0) for key, value in records
        ]
        return [await future for future in futures][-1].offset

    return write
