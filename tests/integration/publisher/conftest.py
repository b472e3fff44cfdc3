"""A connection, topics of one test alone, a publisher, and a node that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.publisher import KafkaConnection, ModelPublisher
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs
from tests.fakes.scripted_node import ScriptedNode


@pytest.fixture
def connection(bootstrap_servers: str) -> KafkaConnection:
    return KafkaConnection(bootstrap_servers)


@pytest.fixture
def topics(topic_prefix: str) -> Topics:
    """Names that no other test uses; the publisher creates the topics."""
    return Topics(
        control=f"{topic_prefix}control",
        status=f"{topic_prefix}status",
        requests=f"{topic_prefix}requests",
        responses=f"{topic_prefix}responses",
        dead_letters=f"{topic_prefix}dead-letters",
        shadow=f"{topic_prefix}shadow",
    )


@pytest.fixture
async def abrupt_goodbyes() -> AsyncIterator[None]:
    """Cut what is still open at the end.

    aiokafka closes a TLS connection that was refused without waiting for the other side's goodbye,
    which comes when the loop of the test has ended.
    """
    yield
    loop: Any = asyncio.get_running_loop()
    for transport in list(loop._transports.values()):
        transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
async def publisher(
    connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> AsyncIterator[ModelPublisher]:
    store = str(tmp_path / "store")
    async with ModelPublisher(connection, topics=topics, store=store) as opened:
        yield opened


@pytest.fixture
async def nodes(
    connection: KafkaConnection, topics: Topics
) -> AsyncIterator[tuple[ScriptedNode, ScriptedNode]]:
    """Two nodes that have not said anything yet."""
    await ensure_topics(connection, specs(topics))
    async with connection.producer() as producer:
        yield (
            ScriptedNode("node-a", producer, topics.status),
            ScriptedNode("node-b", producer, topics.status),
        )
