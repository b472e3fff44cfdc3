"""Deadlines of tickets: told when they pass, and not of those that are forgotten."""

from __future__ import annotations

import asyncio
import math

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.workers.deadlines import Deadlines
from headrace.consumer.workers.queue import Ticket


def due(seconds: float) -> Ticket:
    """Return a ticket that is due in so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    return Ticket(Calls(Encoding.AVRO, [b""], [deadline]))


async def test_tells_each_ticket_when_its_deadline_has_passed() -> None:
    """Never before it, in the order of the deadlines, and not those that were forgotten."""
    loop, told, over = asyncio.get_running_loop(), list[Ticket](), asyncio.Event()

    def expire(ticket: Ticket) -> None:
        assert loop.time() >= ticket.latest_seconds - 1e-6
        told.append(ticket)
        if len(told) == 2:
            over.set()

    deadlines = Deadlines(expire)
    late, early, answered, neighbour = due(0.05), due(0.01), due(0.03), due(30)
    for ticket in (late, early, answered, neighbour):
        deadlines.watch(ticket)
    deadlines.forget(answered)
    async with asyncio.timeout(5):
        await over.wait()
    assert told == [early, late]
    deadlines.forget(neighbour)
    deadlines.forget(early)


async def test_one_timer_for_those_that_are_due_together() -> None:
    """A thousand calls with about one deadline are one timer, which goes with the last of them."""
    deadline = asyncio.get_running_loop().time() + 30
    tickets = [Ticket(Calls(Encoding.AVRO, [b""], [deadline])) for _ in range(1000)]
    deadlines = Deadlines(lambda _: None)
    for ticket in tickets:
        deadlines.watch(ticket)
    [(_, timer)] = deadlines._due.values()  # pyright: ignore[reportPrivateUsage]
    for ticket in tickets[1:]:
        deadlines.forget(ticket)
    assert not timer.cancelled()
    deadlines.forget(tickets[0])
    assert timer.cancelled()
    assert not deadlines._due  # pyright: ignore[reportPrivateUsage]


async def test_a_call_without_a_deadline_is_not_watched() -> None:
    """Recorded calls have none."""
    deadlines = Deadlines(lambda _: None)
    ticket = Ticket(Calls(Encoding.AVRO, [b""], [math.inf]))
    deadlines.watch(ticket)
    deadlines.forget(ticket)
