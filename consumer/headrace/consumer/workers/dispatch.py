"""Which calls go to the worker when: frames are cut from the queue while the worker is busy.

Owns what is in the queue and in flight on one link at a time. Knows nothing of processes; the
servable gives it a link, and takes back what a dead worker left unanswered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.company import MAX_WAIT_SECONDS, Company
from headrace.consumer.workers.flight import Frame, Share
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import EXPIRED, CallQueue, Ticket
from headrace.schemas.records import Batching

_HUNG: Final = "it did not answer by its deadline"


class Dispatcher:
    """Sends queued calls to the worker and hands its answers out.

    Whatever queued while the worker was busy goes into the next frame; when there is a full one, it
    goes before the worker is idle. A call over which a worker has died before is a suspect, and
    goes alone: no frame before it is unanswered, none follows.

    **Concurrency:** event loop only.
    """

    def __init__(self, queue: CallQueue, batching: Batching, options: WorkerOptions) -> None:
        self._queue = queue
        self._batching = batching
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._frames: dict[int, Frame] = {}
        self._next_frame = 0
        self._suspects: deque[Share] = deque()
        self._linger: asyncio.TimerHandle | None = None
        self._company = Company()
        self.has_answered = False

    @property
    def is_testing(self) -> bool:
        """Whether the worker has a suspect."""
        return any(frame.is_suspect for frame in self._frames.values())

    def attach(self, link: Link) -> None:
        """Send calls over this link from now on."""
        self._link = link
        self.has_answered = False
        link.on_message = self._receive
        self.pump()

    def detach(self) -> list[Share]:
        """Send nothing more; return the calls that the worker left unanswered."""
        self._link = None
        self._stop_lingering()
        orphans: list[Share] = []
        for frame in self._frames.values():
            frame.stop_watching()
            orphans += frame.unanswered()
        self._frames.clear()
        return orphans

    def suspect(self, suspects: Iterable[Share]) -> None:
        """Send these calls next, each alone; those left from before come first."""
        # From the other end: requests that kill come in a row, and others are to be found soon.
        self._suspects.reverse()
        self._suspects.extend(suspects)

    def drain(self) -> list[Ticket]:
        """Take out every call that has not been sent."""
        waiting = [*[share.ticket for share in self._suspects], *self._queue.drain()]
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
        while self._link is not None:
            if self._suspects:
                if self._frames:
                    return
                shares = self._next_suspect()
            else:
                if not self._may_send() or self._waits_for_company():
                    return
                shares = self._next_calls()
            if shares:
                self._send(self._link, shares)

    def _may_send(self) -> bool:
        """Whether there are calls for an idle worker, or a full frame for a busy one."""
        queued = len(self._queue)
        if not self._frames:
            return queued > 0
        return (
            2 * queued >= self._options.max_frame_calls
            and len(self._frames) < self._options.max_frames_in_flight
            and not self.is_testing
        )

    def _next_calls(self) -> list[Share]:
        options = self._options
        tickets = self._queue.take(
            options.max_frame_calls, options.max_frame_bytes, self._loop.time()
        )
        return [Share(ticket) for ticket in tickets]

    def _next_suspect(self) -> list[Share]:
        share = self._suspects.popleft()
        ticket, position = share.ticket, share.first
        if ticket.payloads[position] is not None:
            return []
        if ticket.calls.deadlines_seconds[position] <= self._loop.time():
            ticket.settle(position, b"", EXPIRED)
            return []
        return [share]

    def _send(self, link: Link, shares: list[Share]) -> None:
        number, self._next_frame = self._next_frame, self._next_frame + 1
        frame = Frame(shares)
        try:
            link.send(frames.Run(number, frame.calls()))
        except frames.FrameError as error:
            for share in shares:
                share.ticket.settle_rest(Fault(Code.RESOURCE_EXHAUSTED, message=str(error)))
            return
        self._frames[number] = frame
        for share in shares:
            share.ticket.is_sent = True
        latest = max(share.latest_seconds for share in shares)
        if latest < float("inf"):
            frame.watchdog = self._loop.call_at(
                latest + self._options.hang_grace_seconds, link.kill, _HUNG
            )

    def _receive(self, message: frames.FromWorker) -> None:
        """Hand out answers; called by the link."""
        if not isinstance(message, frames.Ran) or message.id not in self._frames:
            self._end_worker(f"unexpected {type(message).__name__}")
            return
        frame = self._frames[message.id]
        try:
            frame.settle(message)
        except ValueError as error:
            self._end_worker(str(error))
            return
        self.has_answered = True
        if frame.left <= 0:
            frame.stop_watching()
            del self._frames[message.id]
            self.pump()

    def _end_worker(self, why: str) -> None:
        if self._link is not None:
            self._link.kill(f"it broke the protocol: {why}")

    def _waits_for_company(self) -> bool:
        """Whether an idle worker should wait for more calls before it gets the next frame."""
        queued, timeout_micros = len(self._queue), self._batching.timeout_micros
        if timeout_micros:
            wanted, seconds = self._batching.max_rows, timeout_micros / 1e6
        else:
            wanted, seconds = self._company.wanted, MAX_WAIT_SECONDS
        if self._frames or queued >= wanted:
            self._stop_lingering()
            self._company.came(queued)
            return False
        if self._linger is None:
            self._linger = self._loop.call_later(seconds, self._end_linger)
        return True

    def _end_linger(self) -> None:
        """Send the frame that has waited long enough."""
        self._linger = None
        if self._link is not None and len(self._queue) and not self._frames:
            self._company.stayed_away(len(self._queue))
            shares = self._next_calls()
            if shares:
                self._send(self._link, shares)
        self.pump()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
