"""A worker that is played by the test: the real link, with the test at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Self

from headrace.consumer.workers import frames
from headrace.consumer.workers.link import Link
from headrace.schemas.records import Batching

_PATIENCE_SECONDS = 5


class FakeProcess:
    """A process without a process.

    **Concurrency:** event loop only.
    """

    pid = 4711

    def __init__(self) -> None:
        self.stream, self._other = socket.socketpair()
        self.stream.setblocking(False)
        self.exited: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._is_open = False

    def kill(self) -> None:
        """End."""
        if not self.exited.done():
            self.exited.set_result("killed by SIGKILL")
            if not self._is_open:  # An open stream ends with the other end.
                self._other.close()

    def close(self) -> None:
        """Close the worker's end, connected or not."""
        self._other.close()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the worker's end of the stream."""
        self._is_open = True
        return await asyncio.open_connection(sock=self._other)


class FakeWorker:
    """The other end of a link, and the link.

    **Concurrency:** event loop only.
    """

    def __init__(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.link = link
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connected(cls, process: FakeProcess | None = None) -> Self:
        """Return a worker whose link is open."""
        process = process or FakeProcess()
        link = Link(process)
        try:
            await link.open()
            return cls(link, *await process.open())
        except BaseException:
            link.kill()
            process.close()
            raise

    async def close(self) -> None:
        """Close both ends."""
        self.link.kill()
        await self.die()
        while not self.link.is_lost:
            await asyncio.sleep(0)

    async def die(self) -> None:
        """End, as a process that is killed does."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def receive(self) -> frames.ToWorker:
        """Return the next message."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            length = await self.reader.readexactly(frames.LENGTH_BYTES)
            return frames.decode_to_worker(
                await self.reader.readexactly(frames.body_bytes_of(length))
            )

    async def receive_run(self) -> frames.Run:
        """Return the next message, which must be a Run."""
        message = await self.receive()
        assert isinstance(message, frames.Run)
        return message

    def answer(self, run: frames.Run, *positions: int) -> None:
        """Answer some calls of a frame, or all, with their own payloads."""
        everything = payloads(run)
        chosen = [everything[place] for place in positions] if positions else everything
        ran = frames.Ran(run.id, list(positions) if positions else None, chosen, {})
        self.writer.write(frames.encode(ran))

    async def sees_nothing(self) -> bool:
        """Whether nothing has been sent: a later message is the next one to arrive."""
        mark = frames.Rebatch(Batching(max_rows=4711))
        self.link.send(mark)
        return await self.receive() == mark


def payloads(run: frames.Run) -> list[bytes]:
    """Return which calls a frame has."""
    return [payload for calls in run.calls for payload in calls.payloads]
