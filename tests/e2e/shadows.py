"""What the tests of shadows share: comparisons as they come, and requests by every door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from headrace.publisher.clients import AIOKafkaConsumer, TopicPartition
from headrace.schemas.codec import decode
from headrace.schemas.comparison import ShadowComparison
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
