"""Whether the node may be sent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum


class Phase(StrEnum):
    """Where in its life the node is; it only moves forward."""

    REPLAYING = "replaying the control log"
    LOADING = "loading the wanted versions"
    READY = "ready"
    DRAINING = "shutting down"


class Readiness:
    """The node's phase, for health checks and for the doors.

    **Concurrency:** event loop only; observers are called at once and must not block.
    """

    def __init__(self) -> None:
        self.phase = Phase.REPLAYING
        self.unsettled: tuple[str, ...] = ()
        self._observers: list[Callable[[bool], None]] = []
        self._was_ready = asyncio.Event()

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
        order = list(Phase)
        if order.index(phase) <= order.index(self.phase):
            return
        was_ready = self.is_ready
        self.phase = phase
        if self.is_ready:
            self._was_ready.set()
        if self.is_ready != was_ready:
            for observer in self._observers:
                observer(self.is_ready)

    async def wait_ready(self) -> None:
        """Return once the node has been ready."""
        await self._was_ready.wait()
