"""The calls that wait for a worker, and the tickets that stand for them until they are answered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from headrace.consumer.core.calls import Answers, Calls, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import QueueFull
from headrace.consumer.workers.pace import Pace

EXPIRED: Final = Fault(
    Code.DEADLINE_EXCEEDED, message="the deadline passed before the answer was there"
)

_BACKLOG_CALLS: Final = 16
_HASTE: Final = 2.0
"""A call is to have this many times the time that it will wait: the model takes time, too, and so
does the way back, and where the queue is filled up to the last moment every answer is too late."""
_MIN_RETRY_SECONDS: Final = 0.05
_MAX_RETRY_SECONDS: Final = 5.0


class Ticket:
    """The calls of one `infer` and what is known of their answers.

    `done` is set when the last is answered. `deaths` counts, by position, the workers that died
    over a call.

    **Concurrency:** event loop only.
    """

    __slots__ = (
        "calls",
        "count",
        "deaths",
        "done",
        "faults",
        "is_queued",
        "is_sent",
        "latest_seconds",
        "left",
        "payloads",
        "size_bytes",
    )

    def __init__(self, calls: Calls, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Stand for these calls; `loop`, the running one, is asked for when it is not given."""
        self.calls = calls
        self.count = self.left = len(calls.payloads)
        if self.count == 1:
            self.size_bytes = len(calls.payloads[0])
            self.latest_seconds = calls.deadlines_seconds[0]
        else:
            self.size_bytes = calls.size_bytes
            self.latest_seconds = max(calls.deadlines_seconds)
        self.payloads: list[bytes | None] = [None] * self.count
        self.faults: dict[int, Fault] = {}
        self.deaths: dict[int, int] = {}
        self.is_queued = False
        self.is_sent = False
        self.done: asyncio.Future[None] = (loop or asyncio.get_running_loop()).create_future()

    @property
    def unanswered(self) -> list[int]:
        """The positions without an answer."""
        return [place for place, payload in enumerate(self.payloads) if payload is None]

    def settle(self, position: int, payload: bytes, fault: Fault | None = None) -> None:
        """Answer one call; a later answer is thrown away."""
        if self.payloads[position] is not None:
            return
        self.payloads[position] = payload
        if fault is not None:
            self.faults[position] = fault
        self.left -= 1
        self._look_done()

    def settle_all(self, payloads: list[bytes], faults: dict[int, Fault]) -> None:
        """Answer every call, in their order."""
        if self.left < self.count:
            for position, payload in enumerate(payloads):
                self.settle(position, payload, faults.get(position))
            return
        self.payloads[:] = payloads
        self.faults = faults
        self.left = 0
        self._look_done()

    def settle_rest(self, fault: Fault) -> None:
        """Give every call without an answer this one."""
        for position in self.unanswered:
            self.settle(position, b"", fault)

    def answers(self) -> Answers:
        """Return the answers in the order of the calls, once all are there."""
        return Answers([payload or b"" for payload in self.payloads], self.faults)

    def _look_done(self) -> None:
        if not self.left and not self.done.done():
            self.done.set_result(None)


class CallQueue:
    """A queue bounded in calls and bytes, first in first out; `calls` is how many wait.

    An empty queue takes a ticket of any size, so that no bound can make a call impossible to
    place.

    **Concurrency:** event loop only.
    """

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._tickets: deque[Ticket] = deque()
        self.calls = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._pace = Pace()

    @property
    def kept(self) -> int:
        """How many tickets are held, with those that are answered and not yet swept."""
        return len(self._tickets)

    def has_room(self, ticket: Ticket) -> bool:
        """Whether a ticket may be put now."""
        return not self.calls or (
            self.calls + ticket.count <= self._max_calls
            and self._bytes + ticket.size_bytes <= self._max_bytes
        )

    def put(self, ticket: Ticket) -> None:
        """Queue a ticket.

        Raises:
            QueueFull: it does not fit; nothing was queued.
        """
        if not self.has_room(ticket):
            seconds = self.retry_after_seconds(time.monotonic())
            raise QueueFull(
                f"the queue of this version is full: {self.calls} calls and {self._bytes} bytes "
                f"wait (at most {self._max_calls} and {self._max_bytes}); try again in "
                f"{seconds:.2g} s",
                seconds,
            )
        ticket.is_queued = True
        self._tickets.append(ticket)
        self.calls += ticket.count
        self._bytes += ticket.size_bytes

    def check_in_time(self, ticket: Ticket, calls_in_workers: int) -> None:
        """Raise QueueFull when a ticket would hardly be answered before its deadline.

        First in, first out: under overload all would wait until it is too late for each, and the
        worker would be kept busy with answers that nobody wants.
        """
        if self.calls < _BACKLOG_CALLS:
            return
        now = time.monotonic()
        ahead = self.calls + calls_in_workers
        seconds = self._pace.seconds_for(ahead, now)
        if now + _HASTE * seconds > ticket.latest_seconds:
            raise QueueFull(
                f"{ahead} calls come before this one, for about {seconds:.2g} s, and its "
                "deadline is too near for that; try again later",
                self.retry_after_seconds(now),
            )

    def retry_after_seconds(self, now: float) -> float:
        """Return about how long it takes until what waits now has been given out.

        Units: `now` is monotonic seconds.
        """
        seconds = self._pace.seconds_for(self.calls, now)
        return min(max(seconds, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS)

    async def wait_room(self) -> None:
        """Return when there may be room again."""
        self._room.clear()
        await self._room.wait()

    def wake(self) -> None:
        """Have all who wait for room look again."""
        self._room.set()

    def take(self, max_calls: int, max_bytes: int, now: float) -> list[Ticket]:
        """Take the next tickets out, up to the bounds and at least one; expired ones are answered.

        Units: `now` is monotonic seconds.
        """
        taken: list[Ticket] = []
        left_calls, left_bytes = max_calls, max_bytes
        while self._tickets:
            ticket = self._tickets[0]
            if ticket.is_queued and ticket.latest_seconds > now:
                if taken and (ticket.count > left_calls or ticket.size_bytes > left_bytes):
                    break
                left_calls -= ticket.count
                left_bytes -= ticket.size_bytes
                taken.append(ticket)
            self._tickets.popleft()
            if ticket.is_queued:
                self._forget(ticket)
                if ticket.latest_seconds <= now:
                    ticket.settle_rest(EXPIRED)
        # A lone call, before and behind which nothing waits, tells nothing.
        if taken and (self.calls or self._pace.is_counting):
            self._pace.count(max_calls - left_calls, now, is_backlog=self.calls > 0)
        self.wake()
        return taken

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket out wherever it stands."""
        if ticket.is_queued:
            self._forget(ticket)
            if not self.calls:
                self._pace.rest()
        self._sweep()
        self.wake()

    def drain(self) -> list[Ticket]:
        """Take out everything that waits."""
        waiting = [ticket for ticket in self._tickets if ticket.is_queued]
        for ticket in waiting:
            self._forget(ticket)
        self._tickets.clear()
        self._pace.rest()
        self.wake()
        return waiting

    def _sweep(self) -> None:
        """Let go of withdrawn tickets when they outnumber the calls that wait."""
        if len(self._tickets) > 2 * self.calls + 64:
            self._tickets = deque(ticket for ticket in self._tickets if ticket.is_queued)

    def _forget(self, ticket: Ticket) -> None:
        ticket.is_queued = False
        self.calls -= ticket.count
        self._bytes -= ticket.size_bytes
