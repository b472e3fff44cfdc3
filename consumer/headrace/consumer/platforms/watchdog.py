"""Ends a run that is past its deadline, from a thread of its own.

The thread sleeps until the earliest deadline that it knows of and is woken only for an earlier one,
so that a run whose deadline is later than the last one's costs a lock and nothing else.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Watchdog:
    """Watches one run at a time.

    **Concurrency:** `watching` belongs to one thread; `terminate` is called by another.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadline = math.inf
        self._wakes_at = math.inf
        self._terminate: Callable[[], None] | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(
        self, timeout_seconds: float | None, terminate: Callable[[], None]
    ) -> Generator[None]:
        """Call `terminate`, once, unless the block ends within its time; None is no bound."""
        if timeout_seconds is None:
            yield
            return
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            self._deadline, self._terminate = deadline, terminate
            if deadline < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._deadline, self._terminate = math.inf, None

    def _watch(self) -> None:
        with self._changed:
            while True:
                left = self._deadline - time.monotonic()
                if left <= 0 and self._terminate is not None:
                    self._terminate()
                    self._deadline, self._terminate = math.inf, None
                    continue
                self._wakes_at = self._deadline
                self._changed.wait(None if math.isinf(left) else min(left, threading.TIMEOUT_MAX))
