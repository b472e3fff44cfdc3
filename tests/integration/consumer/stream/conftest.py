"""A door's surroundings: topics of the test's own, and somebody who asks."""

from collections.abc import AsyncIterator

import pytest

from headrace.consumer.stream.options import DeliveryGuarantee, StreamOptions
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


@pytest.fixture(params=list(DeliveryGuarantee))
def options(topics: Topics, unique_name: str, request: pytest.FixtureRequest) -> StreamOptions:
    """The settings of a door, with each guarantee in turn: both keep what one promises."""
    return StreamOptions(node="n1", group=unique_name, topics=topics, delivery=request.param)


@pytest.fixture
async def client(connection: KafkaConnection) -> AsyncIterator[Correspondent]:
    async with correspondent(connection) as opened:
        yield opened
