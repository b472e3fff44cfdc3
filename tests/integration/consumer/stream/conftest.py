"""A door's surroundings: topics of the test's own, and somebody who asks."""

from collections.abc import AsyncIterator

import pytest

from headrace.consumer.stream.options import StreamOptions
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs
from tests.fakes.correspondent import Correspondent, correspondent


@pytest.fixture
def connection(bootstrap_servers: str) -> KafkaConnection:
    return KafkaConnection(bootstrap_servers)


@pytest.fixture
async def topics(connection: KafkaConnection, topic_prefix: str) -> Topics:
    """Topics of this test alone, with two partitions for requests and responses."""
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
def options(topics: Topics, unique_name: str) -> StreamOptions:
    return StreamOptions(node="n1", group=unique_name, topics=topics)


@pytest.fixture
async def client(connection: KafkaConnection) -> AsyncIterator[Correspondent]:
    async with correspondent(connection) as opened:
        yield opened
