"""What the node sends to a worker: in order, except that what is called off is called off at once.

The worker computes in the same thread that reads, so it looks at the stream between two runs. Owns
the bytes that have come and the orders in them.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from headrace.consumer.core.calls import Calls
from headrace.consumer.formats.sorting import flat
from headrace.consumer.workers import frames

_BUFFER_BYTES: Final = 1 << 18
_CALLED_OFF: Final = float("-inf")


class Job(NamedTuple):
    """The calls of one frame, and their deadlines; one that is called off moves to the past."""

    frame: int
    calls: Sequence[Calls]
    deadlines_seconds: list[float]


Order = frames.Load | frames.Rebatch | Job


class Inbox:
    """The orders of the node.

    **Concurrency:** one caller at a time; only `next` blocks.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._scratch = bytearray(_BUFFER_BYTES)
        # The scratch, or for a frame that is longer a buffer of just its length.
        self._buffer = self._scratch
        self._filled = 0
        self._orders: deque[Order] = deque()
        self._jobs: dict[int, Job] = {}
        self._is_over = False

    def next(self) -> Order | None:
        """Return the next order, or None when the node has closed the stream.

        Raises:
            FrameError: the stream carries something else than our frames.
        """
        while not self._orders and not self._is_over:
            self._receive(0)
        self.look()
        return None if self._is_over else self._orders.popleft()

    def look(self) -> None:
        """Take in what has come, and call off what is to be called off.

        Raises:
            FrameError: the stream carries something else than our frames.
        """
        try:
            while not self._is_over:
                self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return

    def done(self, job: Job) -> None:
        """Forget a job that is answered."""
        del self._jobs[job.frame]

    def _receive(self, flags: int) -> None:
        """Take in some bytes, and the orders that they complete."""
        with memoryview(self._buffer) as view:
            count = self._stream.recv_into(view[self._filled :], 0, flags)
            self._is_over = count == 0
            self._filled += count
            start, wanted = 0, frames.LENGTH_BYTES
            while self._filled - start >= wanted:
                body = start + frames.LENGTH_BYTES
                wanted = frames.LENGTH_BYTES + frames.body_bytes_of(view[start:body])
                if self._filled - start < wanted:
                    break
                self._accept(frames.decode_to_worker(view[body : start + wanted]))
                start, wanted = start + wanted, frames.LENGTH_BYTES
        self._keep(start, wanted)

    def _keep(self, start: int, wanted: int) -> None:
        """Move the beginning of a frame to where there is room for all of it."""
        left = self._filled - start
        target = self._scratch if wanted <= _BUFFER_BYTES else self._buffer
        if wanted > len(target):
            target = bytearray(wanted)
        if start or target is not self._buffer:
            target[:left] = self._buffer[start : self._filled]
        self._buffer, self._filled = target, left

    def _accept(self, message: frames.ToWorker) -> None:
        match message:
            case frames.Run(id=frame, calls=calls):
                deadlines = flat([each.deadlines_seconds for each in calls])
                job = self._jobs[frame] = Job(frame, calls, list(deadlines))
                self._orders.append(job)
            case frames.Cancel(id=frame, positions=positions):
                # One that is answered has crossed this on its way.
                if (meant := self._jobs.get(frame)) is not None:
                    for position in positions:
                        meant.deadlines_seconds[position] = _CALLED_OFF
            case _:
                self._orders.append(message)
