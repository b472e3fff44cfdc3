"""Reads whole topics as a read_committed consumer without a group: live, and afterwards anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.clients import KafkaError, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError

_OPTIONS = {"isolation_level": "read_committed", "fetch_max_wait_ms": 100}


async def read_topic(
    connection: KafkaConnection, topic: str, partitions: int, *, timeout: float = 120
) -> list[Message]:
    """Return every record of a topic, from its beginning to what is its end now."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    found: list[Message] = []
    async with asyncio.timeout(timeout), connection.consumer(**_OPTIONS) as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, 0)
        # The position and not the last record tells: a log may end with a transaction's marker.
        while any([await consumer.position(place) < ends[place] for place in places]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += messages
    return found


class Watch:
    """Follows a topic while the run goes on, over every outage, and notes what arrives.

    **Concurrency:** event loop only; `follow` is one task.
    """

    def __init__(self, connection: KafkaConnection, topic: str, partitions: int) -> None:
        self._connection = connection
        self._next = {TopicPartition(topic, number): 0 for number in range(partitions)}
        self._arrived = asyncio.Event()
        self._last_at = time.monotonic()
        self.seen: set[tuple[int, int]] = set()
        self.longest_gap_seconds = 0.0

    async def follow(self) -> None:
        """Follow for ever."""
        while True:
            try:
                with strays_as_errors():
                    await self._follow_once()
            except (KafkaError, PublisherError, TimeoutError):
                await asyncio.sleep(0.2)

    def start_clock(self) -> None:
        """Begin to measure gaps, from now."""
        self._last_at = time.monotonic()
        self.longest_gap_seconds = 0.0

    async def wait_more(self, count: int, *, timeout: float = 60) -> None:
        """Return when so many more have arrived; AssertionError when they do not in time."""
        target = len(self.seen) + count
        try:
            await self.wait_seen(target, timeout=timeout)
        except TimeoutError:
            missing = target - len(self.seen)
            raise AssertionError(
                f"{missing} of {count} answers did not come in {timeout} s"
            ) from None

    async def wait_seen(self, total: int, *, timeout: float) -> None:
        """Return when so many have arrived in all; TimeoutError when they do not in time."""
        async with asyncio.timeout(timeout):
            while len(self.seen) < total:
                self._arrived.clear()
                await self._arrived.wait()

    async def _follow_once(self) -> None:
        async with self._connection.consumer(**_OPTIONS) as consumer:
            consumer.assign(list(self._next))
            for place, offset in self._next.items():
                consumer.seek(place, offset)
            while True:
                for place, messages in (await consumer.getmany(timeout_ms=200)).items():
                    self._note(place, messages)

    def _note(self, place: TopicPartition, messages: Sequence[Message]) -> None:
        now = time.monotonic()
        self.longest_gap_seconds = max(self.longest_gap_seconds, now - self._last_at)
        self._last_at = now
        self.seen.update((place.partition, message.offset) for message in messages)
        self._next[place] = messages[-1].offset + 1
        self._arrived.set()
