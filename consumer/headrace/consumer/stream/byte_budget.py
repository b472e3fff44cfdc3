"""A bound on memory that several borrow from, in the order in which they ask."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """So many bytes, lent out in the order of asking: a large payload is not passed by small ones.

    **Concurrency:** event loop only.
    """

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, size_bytes: int) -> None:
        """Return once so many bytes are ours; at most what the budget has in all.

        Cancellation: nothing is taken.
        """
        if not self._waiting and size_bytes <= self._left:
            self._left -= size_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._grant()
            else:
                # It was granted in the moment in which the caller went away.
                self.release(size_bytes)
            raise

    def release(self, size_bytes: int) -> None:
        """Give so many bytes back."""
        self._left += size_bytes
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            size_bytes, turn = self._waiting[0]
            if not turn.done():
                if size_bytes > self._left:
                    return
                self._left -= size_bytes
                turn.set_result(None)
            self._waiting.popleft()
