"""Which calls go to the worker when: frames are cut from the queue while the worker is busy.

Owns what is in the queue and in flight on one link at a time. Knows nothing of processes; the
servable gives it a link, and takes back what a dead worker left unanswered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from headrace.consumer.core.calls import Answer
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import EXPIRED, CallQueue, Ticket
from headrace.schemas.records import Batching

_HUNG: Final = "it did not answer by its deadline"


class _Frame:
    """Calls that a worker has and has not all answered."""

    __slots__ = ("left", "tickets", "watchdog")

    def __init__(self, tickets: list[Ticket]) -> None:
        self.tickets = tickets
        self.left = len(tickets)
        self.watchdog: asyncio.TimerHandle | None = None


class Dispatcher:
    """Sends queued calls to the worker and hands its answers out.

    Whatever queued while the worker was busy goes into the next frame. A call over which a worker
    has died before is a suspect, and goes alone: no frame before it is unanswered, none follows.

    **Concurrency:** event loop only.
    """

    def __init__(self, queue: CallQueue, batching: Batching, options: WorkerOptions) -> None:
        self._queue = queue
        self._batching = batching
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._frames: dict[int, _Frame] = {}
        self._next_frame = 0
        self._suspects: deque[Ticket] = deque()
        self._linger: asyncio.TimerHandle | None = None

    def attach(self, link: Link) -> None:
        """Send calls over this link from now on."""
        self._link = link
        link.on_message = self._receive
        self.pump()

    def detach(self) -> list[Ticket]:
        """Send nothing more; return the calls that the worker left unanswered."""
        self._link = None
        self._stop_lingering()
        orphans: list[Ticket] = []
        for frame in self._frames.values():
            if frame.watchdog is not None:
                frame.watchdog.cancel()
            orphans += [ticket for ticket in frame.tickets if ticket.answer is None]
        self._frames.clear()
        for ticket in orphans:
            ticket.is_sent = False
        return orphans

    def suspect(self, tickets: Iterable[Ticket]) -> None:
        """Send these calls next, each alone."""
        self._suspects.extend(tickets)

    def drain(self) -> list[Ticket]:
        """Take out every call that has not been sent."""
        waiting = [*self._suspects, *self._queue.drain()]
        self._suspects.clear()
        return waiting

    def rebatch(self, batching: Batching) -> None:
        """Batch by these rules from the next frame on."""
        if batching.max_rows != self._batching.max_rows and self._link is not None:
            self._link.send(frames.Rebatch(batching.max_rows))
        self._batching = batching
        self.pump()

    def pump(self) -> None:
        """Send what may be sent now."""
        while self._link is not None and len(self._frames) < self._options.max_frames_in_flight:
            if self._suspects:
                if self._frames:
                    return
                tickets = self._next_suspect()
            else:
                if not len(self._queue) or self._is_testing() or self._waits_for_company():
                    return
                tickets = self._queue.take(
                    self._options.max_frame_calls,
                    self._options.max_frame_bytes,
                    self._loop.time(),
                )
            if tickets:
                self._send(self._link, tickets)

    def _send(self, link: Link, tickets: list[Ticket]) -> None:
        number, self._next_frame = self._next_frame, self._next_frame + 1
        try:
            link.send(frames.Run(number, [ticket.call for ticket in tickets]))
        except frames.FrameError as error:
            for ticket in tickets:
                ticket.settle(Answer(Code.RESOURCE_EXHAUSTED, message=str(error)))
            return
        frame = self._frames[number] = _Frame(tickets)
        for ticket in tickets:
            ticket.is_sent = True
        latest = max(ticket.call.deadline_seconds for ticket in tickets)
        if latest < float("inf"):
            frame.watchdog = self._loop.call_at(
                latest + self._options.hang_grace_seconds, link.kill, _HUNG
            )

    def _receive(self, message: frames.FromWorker) -> None:
        """Hand out answers; called by the link."""
        if not isinstance(message, frames.Ran) or message.id not in self._frames:
            if self._link is not None:
                self._link.kill(f"it broke the protocol: unexpected {type(message).__name__}")
            return
        frame = self._frames[message.id]
        for position, answer in zip(message.positions, message.answers, strict=True):
            frame.tickets[position].settle(answer)
        frame.left -= len(message.positions)
        if frame.left <= 0:
            if frame.watchdog is not None:
                frame.watchdog.cancel()
            del self._frames[message.id]
            self.pump()

    def _next_suspect(self) -> list[Ticket]:
        ticket = self._suspects.popleft()
        if ticket.answer is not None:
            return []
        if ticket.call.deadline_seconds <= self._loop.time():
            ticket.settle(EXPIRED)
            return []
        return [ticket]

    def _is_testing(self) -> bool:
        """Whether the worker has a suspect."""
        return any(frame.tickets[0].deaths for frame in self._frames.values())

    def _waits_for_company(self) -> bool:
        """Whether an idle worker should wait for more calls before it gets the next frame."""
        timeout = self._batching.timeout_micros
        if not timeout or self._frames or len(self._queue) >= self._batching.max_rows:
            self._stop_lingering()
            return False
        if self._linger is None:
            self._linger = self._loop.call_later(timeout / 1e6, self._end_linger)
        return True

    def _end_linger(self) -> None:
        """Send the frame that has waited long enough."""
        if self._link is not None and len(self._queue) and not self._frames:
            options = self._options
            tickets = self._queue.take(
                options.max_frame_calls, options.max_frame_bytes, self._loop.time()
            )
            if tickets:
                self._send(self._link, tickets)
        self._linger = None
        self.pump()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
