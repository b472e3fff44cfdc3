"""How long the calls of a queue will take, by how long those before them took."""

from __future__ import annotations

from typing import Final


class Pace:
    """How fast calls are given out while others wait behind them.

    The time between two frames tells how long the workers took, if calls waited all along. Later
    frames weigh more than earlier ones.

    **Concurrency:** event loop only.
    """

    _MEMORY: Final = 0.8

    def __init__(self) -> None:
        self._calls = 0.0
        self._seconds = 0.0
        # When calls were last given out; None when none was left waiting.
        self._since: float | None = None

    @property
    def is_counting(self) -> bool:
        """Whether calls have waited since some were given out."""
        return self._since is not None

    def count(self, calls: int, now: float, *, is_backlog: bool) -> None:
        """Count a frame of so many calls; `is_backlog` says whether others wait still.

        Units: `now` is monotonic seconds.
        """
        if self._since is not None:
            self._calls = self._calls * self._MEMORY + calls
            self._seconds = self._seconds * self._MEMORY + now - self._since
        self._since = now if is_backlog else None

    def rest(self) -> None:
        """Count no time until calls are given out again: nothing waits."""
        self._since = None

    def seconds_for(self, calls: int, now: float) -> float:
        """Return how long so many calls will take; before anything is known, as long as it took."""
        waited = 0.0 if self._since is None else now - self._since
        if not self._calls:
            return waited
        return calls * (self._seconds + waited) / self._calls
