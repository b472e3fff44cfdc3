"""How many versions may load at once."""

from __future__ import annotations

import asyncio
from types import TracebackType


class LoadSlots:
    """A counted gate, first come first served, whose width can change.

    **Concurrency:** event loop only; `async with` holds one slot.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._taken = 0
        self._changed = asyncio.Condition()

    async def resize(self, width: int) -> None:
        """Let `width` hold a slot from now on; those inside finish."""
        async with self._changed:
            self._width = width
            self._changed.notify_all()

    async def __aenter__(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken < self._width)
            self._taken += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # No await before the count is right: a cancelled holder must still give its slot back.
        self._taken -= 1
        async with self._changed:
            self._changed.notify()
