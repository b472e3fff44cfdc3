"""Commits what is confirmed: the end of each partition's confirmed prefix, a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from headrace.consumer.stream.clients import GroupConsumer, KafkaError, TopicPartition
from headrace.publisher.cancellation import strays_as_errors

_LOG: Final = structlog.get_logger(__name__)


class Commits:
    """The positions of one consumer that wait to be committed.

    A commit that fails is dropped: the group has gone on without us, and whoever has the partition
    now reads from the last commit that succeeded; or the next one of ours covers it.

    **Concurrency:** event loop only.
    """

    def __init__(self, consumer: GroupConsumer, *, interval_seconds: float) -> None:
        self._consumer = consumer
        self._interval_seconds = interval_seconds
        self._positions: dict[TopicPartition, int] = {}
        self._is_dirty = asyncio.Event()

    def note(self, partition: TopicPartition, offset: int) -> None:
        """Note that everything before `offset` is answered for."""
        self._positions[partition] = offset
        self._is_dirty.set()

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            await self._is_dirty.wait()
            await self.flush(self._positions.keys())
            await asyncio.sleep(self._interval_seconds)

    async def flush(self, partitions: Collection[TopicPartition]) -> None:
        """Commit these partitions now.

        Cancellation: the commit may or may not have happened.
        """
        wanted = {tp: self._positions.pop(tp) for tp in list(partitions) if tp in self._positions}
        if not self._positions:
            self._is_dirty.clear()
        if not wanted:
            return
        try:
            with strays_as_errors():
                await self._consumer.commit(wanted)
        except KafkaError as error:
            _LOG.warning(
                "offsets.commit_failed",
                partitions=sorted(f"{tp.topic}/{tp.partition}" for tp in wanted),
                reason=str(error) or repr(error),
            )
