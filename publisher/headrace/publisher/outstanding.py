"""Requests that wait for their answers, by correlation id, and never more than a limit of them."""

from __future__ import annotations

import asyncio
import itertools
import uuid

from headrace.publisher.errors import InferenceFailed
from headrace.publisher.inference import Inference

Result = Inference | InferenceFailed


class Call:
    """One caller's requests: their results by position, and a future for when all are there.

    **Concurrency:** one event loop; made and awaited by one task.
    """

    def __init__(self, size: int) -> None:
        self.results: list[Result | None] = [None] * size
        self.ids: list[bytes] = []
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = size
        if not size:
            self.settled.set_result(None)

    def settle(self, index: int, result: Result) -> None:
        """Note the result of one request; the first one counts."""
        if self.results[index] is not None:
            return
        self.results[index] = result
        self._missing -= 1
        if not self._missing and not self.settled.done():
            self.settled.set_result(None)

    def settle_rest(self, result: InferenceFailed) -> None:
        """Give every request without a result this one."""
        for index in range(len(self.results)):
            self.settle(index, result)


class Outstanding:
    """All requests of one client that wait for answers.

    **Concurrency:** one event loop.
    """

    def __init__(self, limit: int) -> None:
        # The prefix keeps clients apart that read one response topic.
        self._prefix = uuid.uuid4().hex[:16].encode()
        self._numbers = itertools.count()
        self._entries: dict[bytes, tuple[Call, int]] = {}
        self._slots = asyncio.Semaphore(limit)
        self._failure: InferenceFailed | None = None

    @property
    def is_full(self) -> bool:
        """Whether the next request has to wait for an answer to another one."""
        return self._slots.locked()

    async def expect(self, call: Call, index: int) -> bytes:
        """Return the correlation id of a new request, once there is room for it.

        Raises:
            InferenceFailed: answers are no longer read.
        """
        await self._slots.acquire()
        if self._failure is not None:
            self._slots.release()
            raise self._failure
        correlation_id = b"%b-%d" % (self._prefix, next(self._numbers))
        self._entries[correlation_id] = (call, index)
        call.ids.append(correlation_id)
        return correlation_id

    def is_waiting(self, correlation_id: bytes) -> bool:
        """Return whether the id is ours and has no result yet."""
        return correlation_id in self._entries

    def settle(self, correlation_id: bytes, result: Result) -> None:
        """Give one request its result; an id that is not waiting is left alone."""
        entry = self._entries.pop(correlation_id, None)
        if entry is not None:
            self._slots.release()
            call, index = entry
            call.settle(index, result)

    def abandon(self, call: Call) -> None:
        """Forget what a call still waits for: its answers will be ignored."""
        for correlation_id in call.ids:
            if self._entries.pop(correlation_id, None) is not None:
                self._slots.release()

    def fail(self, failure: InferenceFailed) -> None:
        """Give every waiting request this result, and refuse new ones with it."""
        self._failure = failure
        for correlation_id in list(self._entries):
            self.settle(correlation_id, failure)
