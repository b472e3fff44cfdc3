"""When the deadlines of tickets pass: one timer for all that are due about the same time.

A timer of the event loop for each call costs as much as everything else that the queue does for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from headrace.consumer.workers.queue import Ticket

_STEPS_PER_SECOND: Final = 200
"""A ticket may be told of its deadline a step too late."""


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
            timer = self._loop.call_at(step / _STEPS_PER_SECOND, self._ring, step)
            self._due[step] = ({ticket}, timer)
        else:
            due[0].add(ticket)

    def forget(self, ticket: Ticket) -> None:
        """Watch a ticket no more; one that is not watched is left alone."""
        if ticket.latest_seconds == math.inf:
            return
        step = _step(ticket)
        due = self._due.get(step)
        if due is not None:
            due[0].discard(ticket)
            if not due[0]:
                due[1].cancel()
                del self._due[step]

    def _ring(self, step: int) -> None:
        tickets, _ = self._due.pop(step)
        for ticket in tickets:
            self._expire(ticket)


def _step(ticket: Ticket) -> int:
    return int(ticket.latest_seconds * _STEPS_PER_SECOND) + 1
