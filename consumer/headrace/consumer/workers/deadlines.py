"""When the deadlines of tickets pass: one timer for all that are due about the same time.

A timer of the event loop for each call costs as much as everything else that the queue does for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from headrace.consumer.workers.queue import Ticket

STEP_SECONDS: Final = 0.005
"""How much later than its deadline a ticket may be told."""


class Deadlines:
    """Calls `expire` with each ticket that is watched when its latest deadline passes.

    **Concurrency:** event loop only.
    """

    def __init__(self, expire: Callable[[Ticket], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._due: dict[int, tuple[set[Ticket], asyncio.TimerHandle]] = {}

    def watch(self, ticket: Ticket) -> None:
        """Tell when the deadline passes, unless the ticket is forgotten before."""
        if ticket.latest_seconds == math.inf:
            return
        step = _step(ticket)
        due = self._due.get(step)
        if due is None:
            timer = self._loop.call_at(step * STEP_SECONDS, self._ring, step)
            self._due[step] = ({ticket}, timer)
        else:
            due[0].add(ticket)

    def forget(self, ticket: Ticket) -> None:
        """Watch a ticket no more; one that is not watched is left alone."""
        if ticket.latest_seconds == math.inf:
            return
        due = self._due.get(step := _step(ticket))
        if due is not None:
            tickets, timer = due
            tickets.discard(ticket)
            if not tickets:
                timer.cancel()
                del self._due[step]

    def _ring(self, step: int) -> None:
        tickets, _ = self._due.pop(step)
        for ticket in tickets:
            self._expire(ticket)


def _step(ticket: Ticket) -> int:
    return math.ceil(ticket.latest_seconds / STEP_SECONDS)
