"""One partition's place in its log: where a pipeline begins to read, and how it takes records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from headrace.consumer.stream.clients import (
    GroupConsumer,
    Message,
    OffsetOutOfRange,
    TopicPartition,
)
from headrace.consumer.stream.flight import Flight

_LOG: Final = structlog.get_logger(__name__)
# How long a pipeline may stay inside getmany after its partition went, and so how long the next one
# for the same partition waits.
_POLL_MS: Final = 200
_LOOK_TIMEOUT_SECONDS: Final = 15.0
# What is taken at once, in bytes: with large records, fewer of them.
_TAKE_BYTES: Final = 4 * 2**20


class Reading:
    """Takes the records of one partition in order, as many at once as are good.

    **Concurrency:** one task.

    Args:
        consumer: what reads.
        partition: the partition.
        max_records: how many records are taken at once.
        is_stopping: whether the partition is ours no more; then its position is not touched.
        end: the offset at which there is no more to take; None for never.
    """

    def __init__(
        self,
        consumer: GroupConsumer,
        partition: TopicPartition,
        max_records: int,
        *,
        is_stopping: Callable[[], bool],
        end: int | None,
    ) -> None:
        self._consumer = consumer
        self._partition = partition
        self._max_records = max_records
        self._is_stopping = is_stopping
        self._end = end
        self._record_bytes = 1.0

    async def seek(self) -> bool:
        """Go to the committed offset, or without one to the beginning; False when revoked."""
        consumer, partition = self._consumer, self._partition
        # Not seek_to_committed(): it does nothing when the committed offset is 0 or missing.
        offset = await consumer.committed(partition)
        if offset is None:
            offset = await self._first_offset()
        if self._is_stopping():
            return False
        consumer.seek(partition, offset)
        _LOG.info(
            "partition.opened", topic=partition.topic, partition=partition.partition, offset=offset
        )
        return True

    async def is_over(self) -> bool:
        """Return whether the end is reached.

        The position and not the records say so: aborted ones and markers take offsets, too.
        """
        return self._end is not None and await self._consumer.position(self._partition) >= self._end

    async def wait_room(self, flight: Flight) -> None:
        """Return at once while there is room; otherwise pause the partition until there is."""
        if flight.has_room or self._is_stopping():
            return
        consumer, partition = self._consumer, self._partition
        consumer.pause(partition)
        try:
            await flight.wait_room(self._is_stopping)
        finally:
            if not self._is_stopping():
                consumer.resume(partition)

    def note_size(self, record_bytes: float) -> None:
        """Note how large records are, on average."""
        self._record_bytes = max(1.0, record_bytes)

    async def take(self) -> Sequence[Message]:
        """Return the next records, none when there are none for a while."""
        consumer, partition = self._consumer, self._partition
        most = min(self._max_records, int(_TAKE_BYTES / self._record_bytes))
        try:
            # Invariant: never under wait_for; a cancelled getmany breaks the consumer's liveness.
            found = await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=max(1, most))
        except OffsetOutOfRange:
            first = await self._first_offset()
            if not self._is_stopping():
                position = await consumer.position(partition)
                # Retention or an operator removed requests that nobody had answered.
                _LOG.error(
                    "requests.lost",
                    topic=partition.topic,
                    partition=partition.partition,
                    position=position,
                    first=first,
                )
                consumer.seek(partition, first)
            return ()
        return found.get(partition, ())

    async def _first_offset(self) -> int:
        async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
            first = await self._consumer.beginning_offsets([self._partition])
        return first[self._partition]
