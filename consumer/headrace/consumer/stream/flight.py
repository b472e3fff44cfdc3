"""What of one partition is taken and not yet committed: in order, and bounded."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from headrace.consumer.stream.requests import Requests


class Batch:
    """Records that were taken, and the task that answers them."""

    __slots__ = ("answering", "requests", "size_bytes", "taken_at")

    def __init__(self, requests: Requests, answering: asyncio.Task[None]) -> None:
        self.requests = requests
        self.answering = answering
        self.size_bytes = requests.size_bytes
        self.taken_at = time.monotonic()

    def __len__(self) -> int:
        """How many records."""
        return len(self.requests.messages)


class Flight:
    """Batches between being taken and being committed.

    **Concurrency:** event loop only: one task boards, another one picks up and lands.

    Args:
        max_records: how many records may be in flight.
        max_bytes: returns how many bytes may be in flight now.
    """

    def __init__(self, max_records: int, max_bytes: Callable[[], float]) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        # Invariant: as long as everyone boards only when there is room, never over the bounds by
        # more than what was taken at once.
        self._batches: deque[Batch] = deque()
        self._picked = 0
        self._records = 0
        self._bytes = 0
        self._has_changed = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._failure: BaseException | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more batch may board."""
        if not self._batches:
            return True
        return self._records < self._max_records and self._bytes < self._max_bytes()

    @property
    def failure(self) -> BaseException | None:
        """Why it was given up, if it was."""
        return self._failure

    async def wait_room(self, is_over: Callable[[], bool]) -> None:
        """Return once one more batch may board, or it `is_over`; whoever ends it calls `wake`."""
        while not self.has_room and self._failure is None and not is_over():
            self._has_changed.clear()
            await self._has_changed.wait()

    async def wait_empty(self) -> None:
        """Return once everything is committed, or given up."""
        await self._is_empty.wait()

    def board(self, batch: Batch) -> None:
        """Add the next batch."""
        self._batches.append(batch)
        self._records += len(batch)
        self._bytes += batch.size_bytes
        self._is_empty.clear()
        self.wake()

    async def pick_up(self, within_seconds: float | None) -> list[Batch]:
        """Return the oldest batches not picked up before, once answered: the first and those ready.

        They are in flight until they `land`. None of them when the time is over, or when woken for
        another reason.
        """
        try:
            async with asyncio.timeout(within_seconds):
                if len(self._batches) <= self._picked:
                    self._has_changed.clear()
                    await self._has_changed.wait()
                if len(self._batches) <= self._picked:
                    return []
                await asyncio.wait([self._batches[self._picked].answering])
        except TimeoutError:
            return []
        ready: list[Batch] = []
        for number in range(self._picked, len(self._batches)):
            batch = self._batches[number]
            if not batch.answering.done():
                break
            batch.answering.result()
            ready.append(batch)
        self._picked += len(ready)
        return ready

    def land(self) -> None:
        """Remove what was picked up: it is committed."""
        for _ in range(self._picked):
            batch = self._batches.popleft()
            self._records -= len(batch)
            self._bytes -= batch.size_bytes
        self._picked = 0
        if not self._batches:
            self._is_empty.set()
        self.wake()

    def drop_waiting(self) -> None:
        """Cancel and forget what waits for a control record, and all that waits for it in turn.

        It is not committed, so whoever has the partition next answers it.
        """
        kept = list(self._batches)
        for number in range(self._picked, len(kept)):
            if kept[number].requests.waiting:
                for batch in kept[number:]:
                    batch.answering.cancel()
                    self._batches.pop()
                    self._records -= len(batch)
                    self._bytes -= batch.size_bytes
                break
        if not self._batches:
            self._is_empty.set()
        self.wake()

    def give_up(self, failure: BaseException | None) -> None:
        """Cancel and forget everything; nothing waits here ever after."""
        for batch in self._batches:
            batch.answering.cancel()
        self._batches.clear()
        self._picked = self._records = self._bytes = 0
        self._failure = failure
        self._is_empty.set()
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._has_changed.set()
