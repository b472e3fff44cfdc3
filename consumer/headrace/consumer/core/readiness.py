"""Whether the node may be sent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum


class Phase(IntEnum):
    """Where in its life the node is; it only moves forward."""

    REPLAYING = 0
    LOADING = 1
    READY = 2
    DRAINING = 3


class Readiness:
    """The node's phase, for health checks and for the doors.

    **Concurrency:** event loop only; observers are called at once and must not block.
    """

    def __init__(self) -> None:
        self.phase = Phase.REPLAYING
        self._observers: list[Callable[[bool], None]] = []
        self._entered = {phase: asyncio.Event() for phase in Phase}

    @property
    def is_ready(self) -> bool:
        """Whether requests are welcome."""
        return self.phase is Phase.READY

    def observe(self, observer: Callable[[bool], None]) -> None:
        """Call `observer` with the present readiness, and again whenever it changes."""
        self._observers.append(observer)
        observer(self.is_ready)

    def enter(self, phase: Phase) -> None:
        """Move on to a later phase; a step back is ignored."""
        if phase <= self.phase:
            return
        was_ready = self.is_ready
        self.phase = phase
        self._entered[phase].set()
        if self.is_ready != was_ready:
            for observer in self._observers:
                observer(self.is_ready)

    async def wait_phase(self, phase: Phase) -> None:
        """Return once the node has entered `phase`."""
        await self._entered[phase].wait()

    async def wait_ready(self) -> None:
        """Return once the node has been ready."""
        await self._entered[Phase.READY].wait()
