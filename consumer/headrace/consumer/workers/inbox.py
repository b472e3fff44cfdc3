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
_MAX_KEPT_BYTES: Final = 1 << 24
"""A buffer that has grown beyond this for one frame is let go after it."""
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
        self._buffer = bytearray(_BUFFER_BYTES)
        self._filled = 0
        # How long the frame that has begun to come is, as far as that is known.
        self._wanted = 0
        self._orders: deque[Order] = deque()
        self._jobs: dict[int, Job] = {}
        self._is_over = False

    def next(self) -> Order | None:
        """Return the next order, or None when the node has closed the stream.

        Raises:
            FrameError: the stream carries something else than our frames.
        """
        is_drained = False
        while not self._orders and not self._is_over:
            is_drained = self._receive(socket.MSG_WAITALL if self._filled else 0)
        if not is_drained:
            self.look()
        return None if self._is_over else self._orders.popleft()

    def look(self) -> None:
        """Take in what has come, and call off what is to be called off.

        Raises:
            FrameError: the stream carries something else than our frames.
        """
        try:
            while not self._receive(socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return

    def done(self, job: Job) -> None:
        """Forget a job that is answered."""
        del self._jobs[job.frame]

    def _receive(self, flags: int) -> bool:
        """Take in some bytes, and the orders that they complete; return whether that was all.

        With MSG_WAITALL, the rest of the frame that has begun to come, and no more.
        """
        rest = self._wanted - self._filled if flags == socket.MSG_WAITALL else 0
        with memoryview(self._buffer) as view:
            count = self._stream.recv_into(view[self._filled :], rest, flags)
            self._is_over = count == 0
            # When less came than there was room for, nothing else is there.
            is_drained = not rest and count < len(view) - self._filled
            self._filled += count
            start, self._wanted = 0, frames.LENGTH_BYTES
            while self._filled - start >= self._wanted:
                body = start + frames.LENGTH_BYTES
                end = body + frames.body_bytes_of(view[start:body])
                if self._filled < end:
                    self._wanted = end - start
                    break
                self._accept(frames.decode_to_worker(view[body:end]))
                start = end
            self._keep(view[start : self._filled])
        return is_drained

    def _keep(self, begun: memoryview) -> None:
        """Move the beginning of a frame to where there is room for all of it."""
        self._filled = len(begun)
        size = len(self._buffer)
        if self._wanted > size or size > max(self._wanted, _MAX_KEPT_BYTES):
            self._buffer = bytearray(max(self._wanted, _BUFFER_BYTES))
        with memoryview(self._buffer) as view:
            view[: self._filled] = begun

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
