"""What of one partition is taken and not yet delivered: in order, and bounded."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing
from headrace.consumer.stream.requests import Requests


class Batch:
    """Records that were taken, and the task that answers them."""

    __slots__ = ("answering", "requests", "size_bytes", "taken_at")

    def __init__(self, requests: Requests, answering: asyncio.Task[list[Outgoing]]) -> None:
        self.requests = requests
        self.answering = answering
        self.size_bytes = requests.size_bytes
        self.taken_at = time.monotonic()


class Flight:
    """Batches between being taken and being delivered.

    **Concurrency:** event loop only: one task boards, another one lands.
    """

    def __init__(self, options: StreamOptions) -> None:
        self._max_batches = options.max_in_flight_batches
        self._max_bytes = options.max_in_flight_bytes
        # Invariant: as long as everyone boards only when there is room, never over the bounds by
        # more than one batch's bytes.
        self._batches: deque[Batch] = deque()
        self._bytes = 0
        self._has_batch = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def has_room(self) -> bool:
        """Whether one more batch may board."""
        return self._has_room.is_set()

    async def wait_room(self) -> None:
        """Return once one more batch may board."""
        await self._has_room.wait()

    async def wait_empty(self) -> None:
        """Return once everything is delivered, or given up."""
        await self._is_empty.wait()

    def board(self, batch: Batch) -> None:
        """Add the next batch."""
        self._batches.append(batch)
        self._bytes += batch.size_bytes
        self._has_batch.set()
        self._is_empty.clear()
        if len(self._batches) >= self._max_batches or self._bytes >= self._max_bytes:
            self._has_room.clear()

    async def next_ready(self) -> list[Batch]:
        """Return the oldest batches, once answered: the first, and those that are ready with it.

        They are in flight until they `land`.
        """
        await self._has_batch.wait()
        ready = [self._batches[0]]
        await asyncio.wait([ready[0].answering])
        for batch in list(self._batches)[1:]:
            if not batch.answering.done():
                break
            ready.append(batch)
        return ready

    def land(self, count: int) -> None:
        """Remove the oldest `count` batches: they are delivered."""
        for _ in range(count):
            self._bytes -= self._batches.popleft().size_bytes
        if len(self._batches) < self._max_batches and self._bytes < self._max_bytes:
            self._has_room.set()
        if not self._batches:
            self._has_batch.clear()
            self._is_empty.set()

    def give_up(self) -> None:
        """Cancel and forget everything; there is room for ever after."""
        for batch in self._batches:
            batch.answering.cancel()
        self._batches.clear()
        self._has_room.set()
        self._is_empty.set()

    def open_up(self) -> None:
        """Let whoever waits for room go on, room or not."""
        self._has_room.set()
