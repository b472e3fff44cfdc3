"""Which deaths of workers tell that a version cannot serve."""

from __future__ import annotations

from collections import deque
from typing import Final

# When so many suspects have been tested and each ended its worker, it is not the requests.
_MAX_TESTS_IN_VAIN: Final = 8


class Deaths:
    """Counts the deaths of a version's workers against the version, unless it answers requests.

    What kills a worker of a version that answers others is most likely a request, and requests have
    their own bound of deaths. Only suspects that die one after the other tell of the version.

    Units: times are seconds on one monotonic clock.

    **Concurrency:** event loop only.
    """

    def __init__(self, max_deaths: int, window_seconds: float) -> None:
        self._times: deque[float] = deque(maxlen=max_deaths)
        self._window_seconds = window_seconds
        self._tests_in_vain = 0.0
        self._last = float("-inf")

    def count(self, since: float, now: float, *, has_answered: bool) -> None:
        """Count the death of a worker that came at `since`.

        Workers that die together die once: one that was there at the last death is not counted.

        Args:
            since: when the worker came.
            now: when it died.
            has_answered: whether the version has answered anything since the last death.
        """
        if since < self._last:
            return
        self._last = now
        self._tests_in_vain = 0.0
        if has_answered:
            self._times.clear()
        else:
            self._times.append(now)

    def count_test(self, *, has_answered: bool) -> None:
        """Count the death of a worker that had a suspect."""
        if has_answered:
            self._times.clear()
        self._tests_in_vain += float("-inf") if has_answered else 1

    def count_start(self, now: float) -> None:
        """Count a worker that died while it loaded."""
        self._times.append(now)

    def verdict(self, now: float) -> str | None:
        """Return why the version cannot serve; None while it may."""
        if self._tests_in_vain >= _MAX_TESTS_IN_VAIN:
            return f"the worker died of {_MAX_TESTS_IN_VAIN} requests, one after the other"
        most = self._times.maxlen
        if len(self._times) == most and now - self._times[0] <= self._window_seconds:
            return f"the worker died {most} times within {self._window_seconds:g} s"
        return None
