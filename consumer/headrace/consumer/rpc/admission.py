"""Which calls the gRPC door lets in, and what it lets them hold.

A call counts from its headers until its answer has left: gRPC keeps answers that a client does not
read, and nothing but the end of the call frees them. What is refused is refused before its message
is read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, cast

from grpc import aio

from headrace.consumer.core.errors import DeadlineExceeded, InvalidRequest, NodeBusy

_MAX_SWEEP_SECONDS: Final = 1.0

Task = asyncio.Task[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Bounds of all calls together, and of the time that a request may take to arrive.

    `max_bytes` counts requests and answers. A single call may exceed it while there is no other.
    """

    max_calls: int = 4096
    max_bytes: int = 512 * 2**20
    arrival_seconds: float = 30.0


class Admission:
    """Counts the calls inside, and ends those whose request does not come.

    **Concurrency:** event loop only; each call by its own task.
    """

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._held: dict[Task, int] = {}
        self._held_bytes = 0
        # Invariant: in order of arrival, so that a sweep stops at the first that has time left.
        self._arriving: dict[Task, float] = {}
        self._late: set[Task] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def calls(self) -> int:
        """How many calls are inside."""
        return len(self._held)

    def open(self) -> None:
        """Begin to watch over arrivals."""
        self._sweep()

    def close(self) -> None:
        """Watch no more."""
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def receive(self, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        """Let the call of this task in, and return its request.

        Raises:
            NodeBusy: there are too many calls, or they hold too much.
            DeadlineExceeded: the request did not arrive in time.
            InvalidRequest: the client ended the call without a request.
        """
        task = cast("Task", asyncio.current_task())
        self._enter(task)
        self._arriving[task] = time.monotonic()
        try:
            # Despite its declared type, EOF when there is none.
            request = cast("bytes | object", await context.read())
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            self._late.discard(task)
            task.uncancel()
            raise DeadlineExceeded(
                f"the request was not there after {self._limits.arrival_seconds:g} s: send it "
                "whole and at once"
            ) from None
        finally:
            del self._arriving[task]
        if not isinstance(request, bytes):
            raise InvalidRequest("the call ended without a request")
        self._check_room(len(request))
        self._hold(task, request)
        return request

    def admit(self, request: bytes) -> None:
        """Let a request in that has come by other ways, until the task that answers it ends.

        Raises:
            NodeBusy: there are too many calls, or they hold too much.
        """
        task = cast("Task", asyncio.current_task())
        self._enter(task)
        self._check_room(len(request))
        self._hold(task, request)

    def answer(self, answer: bytes) -> bytes:
        """Count the answer of this task's call until it has left, and return it."""
        self._hold(cast("Task", asyncio.current_task()), answer)
        return answer

    def _enter(self, task: Task) -> None:
        """Count a call until its task ends, which is when its answer has left."""
        if len(self._held) >= self._limits.max_calls:
            raise NodeBusy(
                f"the node has {len(self._held)} calls, as many as it takes; try again later"
            )
        self._check_room(0)
        self._held[task] = 0
        task.add_done_callback(self._release)

    def _check_room(self, size_bytes: int) -> None:
        if self._held_bytes and self._held_bytes + size_bytes > self._limits.max_bytes:
            raise NodeBusy(
                f"the calls inside hold {self._held_bytes} bytes, of at most "
                f"{self._limits.max_bytes}; try again later"
            )

    def _hold(self, task: Task, message: bytes) -> None:
        size_bytes = len(message)
        self._held[task] += size_bytes
        self._held_bytes += size_bytes

    def _release(self, task: Task) -> None:
        self._held_bytes -= self._held.pop(task)

    def _sweep(self) -> None:
        """End the calls whose request is overdue, and come back."""
        oldest = time.monotonic() - self._limits.arrival_seconds
        for task, since in self._arriving.items():
            if since > oldest:
                break
            self._late.add(task)
            task.cancel()
        interval = min(_MAX_SWEEP_SECONDS, self._limits.arrival_seconds / 4)
        self._sweeping = asyncio.get_running_loop().call_later(interval, self._sweep)
