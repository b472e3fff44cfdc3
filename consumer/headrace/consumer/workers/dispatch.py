"""Which calls go to which worker when: frames are cut from the queue while the workers are busy.

Owns the queue's way out and the lanes to the workers. Knows nothing of processes; the crew gives it
links, and takes back what a dead worker left unanswered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from headrace.consumer.workers import frames
from headrace.consumer.workers.company import MAX_WAIT_SECONDS, Company
from headrace.consumer.workers.flight import Share
from headrace.consumer.workers.lane import Lane
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import EXPIRED, CallQueue, Ticket
from headrace.schemas.records import Batching


def _always() -> bool:
    return True


class Dispatcher:
    """Sends queued calls to the workers of a version, whose answers come back by its lanes.

    Whatever queued while the workers were busy goes into the next frame; idle workers share it.
    When there is a full frame, it goes before a worker is idle.

    A call over which a worker has died before is a suspect, and goes alone: no frame before it is
    unanswered, none follows. One worker at a time has suspects, while the others serve; whether one
    may be risked at all is for `may_test` to say.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        queue: CallQueue,
        batching: Batching,
        options: WorkerOptions,
        may_test: Callable[[], bool] = _always,
    ) -> None:
        self._queue = queue
        self._batching = batching
        self._options = options
        self._may_test = may_test
        self._half_a_frame = options.max_frame_calls / 2
        self._max_frames = options.max_frames_in_flight
        self._loop = asyncio.get_running_loop()
        self._lanes: list[Lane] = []
        self._leaving: list[Lane] = []
        self._suspects: deque[Share] = deque()
        self._tester: Lane | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._company = Company()
        self.has_answered = False

    @property
    def calls_in_workers(self) -> int:
        """How many calls have been sent and are not answered."""
        return sum(frame.left for lane in self._lanes for frame in lane.frames.values())

    @property
    def workers(self) -> int:
        """How many workers get calls."""
        return len(self._lanes)

    def attach(self, link: Link) -> Lane:
        """Send calls over this link too from now on."""
        lane = Lane(link, self._options.hang_grace_seconds, self._answered)
        self._lanes.append(lane)
        self.pump()
        return lane

    def retire(self, lane: Lane) -> None:
        """Send nothing more by this lane; its worker ends when it has answered what it has."""
        self._remove(lane)
        self._leaving.append(lane)
        lane.leave()

    def detach(self, lane: Lane) -> list[Share]:
        """Forget a lane; return the calls that its worker left unanswered."""
        self._remove(lane)
        return lane.close()

    def suspect(self, suspects: Iterable[Share]) -> None:
        """Send these calls next, each alone; those left from before come first."""
        # From the other end: requests that kill come in a row, and others are to be found soon.
        self._suspects.reverse()
        self._suspects.extend(suspects)

    def recall(self, ticket: Ticket) -> None:
        """Have no worker run what is left of a ticket, if it has not begun to."""
        for lane in (*self._lanes, *self._leaving):
            lane.recall(ticket)

    def drain(self) -> list[Ticket]:
        """Take out every call, and forget the lanes."""
        lanes = [*self._lanes, *self._leaving]
        inside = [share.ticket for lane in lanes for share in lane.close()]
        inside += [share.ticket for share in self._suspects]
        self._lanes.clear()
        self._leaving.clear()
        self._suspects.clear()
        self._tester = None
        self._stop_lingering()
        return inside + self._queue.drain()

    def rebatch(self, batching: Batching) -> None:
        """Batch by these rules from the next frame on."""
        if batching != self._batching:
            for lane in (*self._lanes, *self._leaving):
                lane.link.send(frames.Rebatch(batching))
        self._batching = batching
        self.pump()

    def pump(self) -> None:
        """Send what may be sent now."""
        if self._suspects or self._tester is not None:
            self._test()
        self._hand_out(may_wait=True)

    def _hand_out(self, *, may_wait: bool) -> None:
        """Give the idle workers what is queued, and a busy one a full frame."""
        while queued := self._queue.calls:
            lane, sharers = self._next_lane(queued)
            if lane is None or (may_wait and self._waits_for_company(lane, queued)):
                return
            # What is due for one idle worker is due for the others, unless batches are to be full.
            may_wait = may_wait and self._batching.timeout_micros > 0
            self._send(lane, queued, sharers)

    def _next_lane(self, queued: int) -> tuple[Lane | None, int]:
        """Return the worker that has least to do, and how many have as little.

        One that is busy counts only if there is half a frame of calls.
        """
        fewest = self._max_frames if queued >= self._half_a_frame else 1
        found, sharers = None, 0
        for lane in self._lanes:
            count = len(lane.frames)
            if lane is self._tester or count > fewest:
                continue
            if count < fewest:
                found, sharers, fewest = lane, 1, count
            elif found is not None:
                sharers += 1
        return found, sharers

    def _send(self, lane: Lane, queued: int, sharers: int) -> None:
        """Send a frame with this worker's part of the queue; a whole batch if it waited for one."""
        part = -(-queued // sharers)
        if self._batching.timeout_micros:
            part = max(part, self._batching.max_rows)
        options = self._options
        tickets = self._queue.take(
            min(part, options.max_frame_calls), options.max_frame_bytes, self._loop.time()
        )
        if tickets:
            lane.send([Share(ticket) for ticket in tickets])

    def _test(self) -> None:
        """Have a worker that has nothing else answer the next suspect, if that may be."""
        while self._suspects and self._lanes and self._may_test():
            if self._tester is None:
                self._tester = min(self._lanes, key=lambda lane: len(lane.frames))
            if self._tester.frames:
                return
            share = self._suspects.popleft()
            if self._is_wanted(share):
                self._tester.send([share])
        if self._tester is not None and not self._tester.frames:
            self._tester = None

    def _is_wanted(self, share: Share) -> bool:
        """Whether somebody waits for the answer to a suspect still."""
        ticket, position = share.ticket, share.first
        if ticket.payloads[position] is not None:
            return False
        if ticket.calls.deadlines_seconds[position] <= self._loop.time():
            ticket.settle(position, b"", EXPIRED)
            return False
        return True

    def _answered(self, _lane: Lane) -> None:
        self.has_answered = True
        self.pump()

    def _remove(self, lane: Lane) -> None:
        for lanes in (self._lanes, self._leaving):
            if lane in lanes:
                lanes.remove(lane)
        if lane is self._tester:
            self._tester = None
        if not self._lanes:
            self._stop_lingering()

    def _waits_for_company(self, lane: Lane, queued: int) -> bool:
        """Whether an idle worker should wait for more calls before it gets the next frame."""
        timeout_micros = self._batching.timeout_micros
        if timeout_micros:
            wanted, seconds = self._batching.max_rows, timeout_micros / 1e6
        else:
            wanted, seconds = self._company.wanted, MAX_WAIT_SECONDS
        if lane.frames or queued >= wanted:
            self._stop_lingering()
            self._company.came(queued)
            return False
        if self._linger is None:
            self._linger = self._loop.call_later(seconds, self._end_linger)
        return True

    def _end_linger(self) -> None:
        """Send the frame that has waited long enough."""
        self._linger = None
        if queued := self._queue.calls:
            self._company.stayed_away(queued)
            self._hand_out(may_wait=False)
        self.pump()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
