"""The calls that wait for a worker, and the tickets that stand for them until they are answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from headrace.consumer.core.calls import Answer, Call
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import QueueFull

EXPIRED: Final = Answer(
    Code.DEADLINE_EXCEEDED, message="the deadline passed before the answer was there"
)


class CallGroup:
    """The calls of one `infer`; `done` is set when the last is answered.

    **Concurrency:** event loop only.
    """

    __slots__ = ("done", "latest_seconds", "left", "tickets")

    def __init__(self, calls: Sequence[Call]) -> None:
        self.tickets = [Ticket(call, self) for call in calls]
        self.left = len(calls)
        self.latest_seconds = max(call.deadline_seconds for call in calls)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answers(self) -> list[Answer]:
        """Return the answers in the order of the calls, once all are there."""
        return [ticket.answer for ticket in self.tickets if ticket.answer is not None]


class Ticket:
    """One call until it is answered. `deaths` counts the workers that died over it.

    **Concurrency:** event loop only.
    """

    __slots__ = ("answer", "call", "deaths", "group", "is_queued", "is_sent")

    def __init__(self, call: Call, group: CallGroup) -> None:
        self.call = call
        self.group = group
        self.answer: Answer | None = None
        self.is_queued = False
        self.is_sent = False
        self.deaths = 0

    def settle(self, answer: Answer) -> None:
        """Answer the call; a later answer is thrown away."""
        if self.answer is None:
            self.answer = answer
            group = self.group
            group.left -= 1
            if not group.left and not group.done.done():
                group.done.set_result(None)


class CallQueue:
    """A queue bounded in calls and bytes, first in first out.

    An empty queue takes one call or one group of any size, so that no bound can make a call
    impossible to place.

    **Concurrency:** event loop only.
    """

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._tickets: deque[Ticket] = deque()
        self._bytes = 0
        # Invariant: the number of tickets in the queue that are still to be sent.
        self._calls = 0
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return self._calls

    @property
    def kept(self) -> int:
        """How many tickets are held, with those that are answered and not yet swept."""
        return len(self._tickets)

    def put(self, tickets: Sequence[Ticket]) -> None:
        """Queue all tickets, or none.

        Raises:
            QueueFull: they would not fit.
        """
        size = sum(len(ticket.call.payload) for ticket in tickets)
        if self._calls and not self._has_room(len(tickets), size):
            raise QueueFull(
                f"the queue of this version is full: {self._calls} calls and {self._bytes} bytes "
                f"wait (at most {self._max_calls} and {self._max_bytes}); try again later"
            )
        for ticket in tickets:
            self._append(ticket)

    def put_some(self, tickets: deque[Ticket]) -> None:
        """Move as many tickets into the queue as fit now, from the left; answered ones vanish."""
        while tickets:
            ticket = tickets[0]
            if ticket.answer is None:
                if self._calls and not self._has_room(1, len(ticket.call.payload)):
                    self._room.clear()
                    return
                self._append(ticket)
            tickets.popleft()

    async def wait_room(self) -> None:
        """Return when there may be room again."""
        await self._room.wait()

    def wake(self) -> None:
        """Have all who wait for room look again."""
        self._room.set()

    def take(self, max_calls: int, max_bytes: int, now: float) -> list[Ticket]:
        """Take the next tickets out, up to the bounds and at least one; expired ones are answered.

        Units: `now` is monotonic seconds.
        """
        taken: list[Ticket] = []
        size = 0
        while self._tickets and len(taken) < max_calls:
            ticket = self._tickets[0]
            if ticket.answer is not None:
                self._tickets.popleft()
                continue
            size += len(ticket.call.payload)
            if taken and size > max_bytes:
                break
            self._tickets.popleft()
            self._forget(ticket)
            if ticket.call.deadline_seconds <= now:
                ticket.settle(EXPIRED)
            else:
                taken.append(ticket)
        self.wake()
        return taken

    def settle(self, ticket: Ticket, answer: Answer) -> None:
        """Answer a ticket wherever it is; one that waits gives up its place."""
        if ticket.is_queued:
            self._forget(ticket)
        ticket.settle(answer)

    def sweep(self) -> None:
        """Let go of answered tickets when they outnumber those that wait."""
        if len(self._tickets) > 2 * self._calls + 64:
            self._tickets = deque(ticket for ticket in self._tickets if ticket.is_queued)
        self.wake()

    def drain(self) -> list[Ticket]:
        """Take out everything that waits."""
        waiting = [ticket for ticket in self._tickets if ticket.is_queued]
        for ticket in waiting:
            self._forget(ticket)
        self._tickets.clear()
        self.wake()
        return waiting

    def _append(self, ticket: Ticket) -> None:
        ticket.is_queued = True
        self._tickets.append(ticket)
        self._calls += 1
        self._bytes += len(ticket.call.payload)

    def _forget(self, ticket: Ticket) -> None:
        ticket.is_queued = False
        self._calls -= 1
        self._bytes -= len(ticket.call.payload)

    def _has_room(self, calls: int, size: int) -> bool:
        return self._calls + calls <= self._max_calls and self._bytes + size <= self._max_bytes
