"""One worker's stream on the node's side: frames out, messages in, and the end of it.

Works in callbacks of the event loop rather than in tasks: an answer reaches its waiter in the same
turn of the loop that read it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Protocol, cast

from headrace.consumer.workers import frames

_EXIT_SECONDS: Final = 5.0
"""How long after a kill, or after the end of its stream, a process may take to be gone."""


class Process(Protocol):
    """What a link needs of the process at its other end; `zygote_life.WorkerProcess` has it."""

    @property
    def stream(self) -> socket.socket:
        """The stream to the process, not yet in use."""
        ...

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def exited(self) -> asyncio.Future[str]:
        """How it ended, in words, once it has."""
        ...

    def kill(self) -> None:
        """End it now; when it has ended already, do nothing."""
        ...


class Link(asyncio.Protocol):
    """A connection to a worker.

    `on_message` is called with every message, `on_end` once after the last.

    **Concurrency:** event loop only.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.on_message: Callable[[frames.FromWorker], None] = _ignore
        self.on_end: Callable[[], None] = _nothing
        self.is_lost = False
        self.reason: str | None = None
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._wanted = frames.LENGTH_BYTES

    async def open(self) -> None:
        """Connect to the worker, which was just forked.

        Cancellation: what is left is to `kill` it.
        """
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=self.process.stream)

    def send(self, message: frames.ToWorker) -> None:
        """Send a message; to a worker that is gone there is nothing to send.

        Raises:
            FrameError: the message is too long; nothing was sent.
        """
        if self._transport is not None and not self.is_lost:
            self._transport.write(frames.encode(message))

    def kill(self, reason: str | None = None) -> None:
        """End the worker now, for a reason that explains its end better than the signal does."""
        if self.reason is None:
            self.reason = reason
        self.process.kill()
        if self._transport is not None:
            self._transport.abort()
        else:
            self.process.stream.close()

    async def wait_exit(self) -> str:
        """Return how the process ended, in words; it is killed if it has not."""
        self.process.kill()
        try:
            async with asyncio.timeout(_EXIT_SECONDS):
                words = await asyncio.shield(self.process.exited)
        except TimeoutError:
            words = f"process {self.process.pid} did not end within {_EXIT_SECONDS:g} s"
        return self.reason or words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and pass on every message that is complete (asyncio.Protocol)."""
        self._buffer += data
        while len(self._buffer) >= self._wanted and not self.is_lost:
            try:
                message = self._next()
            except frames.FrameError as error:
                self.kill(f"it broke the protocol: {error}")
                return
            if message is None:
                return
            self.on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Pass on that the worker is gone (asyncio.Protocol)."""
        self.is_lost = True
        self._buffer.clear()
        self.on_end()

    def _next(self) -> frames.FromWorker | None:
        """Return the next complete message; None with `_wanted` set when there is none."""
        end = frames.LENGTH_BYTES + frames.body_bytes_of(self._buffer[: frames.LENGTH_BYTES])
        if len(self._buffer) < end:
            self._wanted = end
            return None
        with memoryview(self._buffer) as view:
            message = frames.decode_from_worker(view[frames.LENGTH_BYTES : end])
        del self._buffer[:end]
        self._wanted = frames.LENGTH_BYTES
        return message


def _ignore(_message: frames.FromWorker) -> None:
    pass


def _nothing() -> None:
    pass
