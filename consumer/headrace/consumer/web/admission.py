"""How much may be inside the HTTP door at once: requests, and the bytes of bodies and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from headrace.consumer.core.errors import NodeBusy


class Admission:
    """Counts what is inside, and refuses what would be too much, at once.

    **Concurrency:** event loop only.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = 0
        self._bytes = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @contextmanager
    def enter(self) -> Generator[Held]:
        """Count a request until the block ends, and all bytes that it holds by then.

        Raises:
            NodeBusy: the bound is reached.
        """
        if self._requests >= self._max_requests:
            raise NodeBusy(
                f"{self._requests} requests are inside, as many as this node takes over HTTP at "
                "once; try again later"
            )
        self._requests += 1
        self._is_idle.clear()
        held = Held(self)
        try:
            yield held
        finally:
            self.hold(-held.size_bytes)
            self._requests -= 1
            if not self._requests:
                self._is_idle.set()

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes more may come in."""
        return self._bytes + size_bytes <= self._max_bytes

    def hold(self, size_bytes: int) -> None:
        """Count bytes; negative ones leave."""
        self._bytes += size_bytes

    async def wait_idle(self) -> None:
        """Return when no request is inside."""
        await self._is_idle.wait()


class Held:
    """The bytes that one request holds.

    **Concurrency:** event loop only.
    """

    __slots__ = ("_admission", "size_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold more bytes of a body.

        Raises:
            NodeBusy: all requests together would hold more than they may.
        """
        if not self._admission.has_room(size_bytes):
            raise NodeBusy(
                "the requests that are inside hold as many bytes as this node takes over HTTP at "
                "once; try again later"
            )
        self._admission.hold(size_bytes)
        self.size_bytes += size_bytes

    def exchange(self, size_bytes: int) -> None:
        """Hold an answer instead of the body: it is there, so it is not refused."""
        self._admission.hold(size_bytes - self.size_bytes)
        self.size_bytes = size_bytes
