"""What the tests of shadows share: comparisons as they come, and requests by every door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from headrace.publisher.clients import AIOKafkaConsumer, TopicPartition
from headrace.publisher.fleet import Fleet, status_reader
from headrace.schemas.codec import decode
from headrace.schemas.comparison import ShadowComparison
from headrace.schemas.topics import RequestHeader
from tests.e2e.rig import Site


class Comparisons:
    """The shadow topic, read from its beginning."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def _records(self) -> AsyncIterator[ShadowComparison]:
        while True:
            for messages in (await self._consumer.getmany(timeout_ms=100)).values():
                for message in messages:
                    record = decode(message.value or b"", ShadowComparison)
                    assert message.key == record.model.encode()
                    yield record

    async def take(
        self, count: int, wanted: Callable[[ShadowComparison], bool] = lambda _: True
    ) -> list[ShadowComparison]:
        """Return the next comparisons that are wanted, when there are so many."""
        found: list[ShadowComparison] = []
        async with asyncio.timeout(60):
            async for record in self._records():
                if wanted(record):
                    found.append(record)
                if len(found) >= count:
                    return found
        raise AssertionError("the topic has no end")


@asynccontextmanager
async def comparisons(site: Site) -> AsyncGenerator[Comparisons, None]:
    """Open a reader of a deployment's comparisons."""
    async with site.connection.consumer() as consumer:
        consumer.assign([TopicPartition(site.topics.shadow, 0)])
        yield Comparisons(consumer)


async def applied(site: Site, control_offset: int) -> None:
    """Wait until the node has applied a control record."""
    name = f"{site.name}-node"

    def is_applied(fleet: Fleet) -> bool | None:
        node = fleet.nodes.get(name)
        return True if node is not None and node.control_offset >= control_offset else None

    async with status_reader(site.connection, site.topics) as reader:
        assert await reader.wait_for(is_applied, 30)


async def correlations(site: Site, topic: str, count: int) -> dict[int, list[bytes]]:
    """Return the correlation ids of a topic's records, by partition, when there are so many."""
    found: dict[int, list[bytes]] = {}
    async with site.connection.consumer(isolation_level="read_committed") as consumer:
        consumer.assign([TopicPartition(topic, number) for number in range(8)])
        async with asyncio.timeout(60):
            while sum(map(len, found.values())) < count:
                for partition, messages in (await consumer.getmany(timeout_ms=100)).items():
                    found.setdefault(partition.partition, []).extend(
                        dict(message.headers)[RequestHeader.CORRELATION_ID] for message in messages
                    )
    return found
