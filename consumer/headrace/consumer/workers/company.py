"""How many calls an idle worker's next frame waits for.

A frame costs node and worker about 0.2 ms of processor time, whatever it carries. Under load from
many callers that is most of what a small call costs, so their calls should share frames; a caller
on its own should never wait for company that does not come. Neither the rate of calls nor the
length of the queue tells the two apart: two callers who ask again at once look like twenty who take
their time. Waiting does, so this tries it, and keeps to what has worked.
"""

from __future__ import annotations

from typing import Final

MAX_WAIT_SECONDS: Final = 0.002
"""The longest that the first call of a frame waits for company."""

_MAX_WANTED: Final = 64
_MAX_PATIENCE: Final = 256
_FIRST_PATIENCE: Final = 16


class Company:
    """The number of calls that come together, learned from the frames that were sent.

    When enough calls have come in time, more are waited for now and then; whenever they do not
    come, it is a longer while until the next attempt. So a wait in vain happens once in `patience`
    frames, which is 256 when the load is steady.

    **Concurrency:** event loop only.
    """

    __slots__ = ("_left", "_patience", "wanted")

    def __init__(self) -> None:
        self.wanted = 1
        self._patience = self._left = _FIRST_PATIENCE

    def came(self, calls: int) -> None:
        """Learn from a frame that got the calls it wanted, or more, without running out of time."""
        if calls > self.wanted:
            self.wanted = min(calls, _MAX_WANTED)
            self._patience = self._left = 1
            return
        self._left -= 1
        if self._left <= 0:
            self.wanted = min(self.wanted + 1 + self.wanted // 4, _MAX_WANTED)
            self._left = 1

    def stayed_away(self, calls: int) -> None:
        """Learn from a frame that waited in vain and got only so many.

        Halved at most: one straggler says little of sixty.
        """
        self.wanted = max(1, min(calls, _MAX_WANTED), self.wanted // 2)
        self._patience = min(2 * self._patience, _MAX_PATIENCE)
        self._left = self._patience
