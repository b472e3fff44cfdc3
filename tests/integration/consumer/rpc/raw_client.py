"""HTTP/2 by hand: a gRPC client that does what well-kept ones never do.

It opens streams and leaves them, sends half a message, or never gives an answer room.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE, HEADER_TABLE_SIZE = 4, 1


class RawClient:
    """One connection, whose flow-control window for answers the test chooses.

    `ended` has the streams that the server has ended, `statuses` how often each gRPC status came.

    **Concurrency:** event loop only.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ended: set[int] = set()
        self.statuses: Counter[str] = Counter()
        self.is_closed = False
        self._reader = reader
        self._writer = writer
        self._changed = asyncio.Condition()
        self._next_stream = 1

    def greet(self, window_bytes: int) -> None:
        """Begin the connection."""
        # No table: so every header of an answer comes spelt out, and can be found in the bytes.
        settings = struct.pack(">HIHI", INITIAL_WINDOW_SIZE, window_bytes, HEADER_TABLE_SIZE, 0)
        self._writer.write(PREFACE + _frame(SETTINGS, 0, 0, settings))

    async def call(self, path: str, body: bytes = b"", *, ends: bool = False) -> int:
        """Open a stream with so much of a body; `ends` says that nothing follows."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(_literal(name, value) for name, value in headers.items())
        last = END_STREAM if ends else 0
        self._writer.write(
            _frame(HEADERS, END_HEADERS | (0 if body else last), stream, block)
            + (_frame(DATA, last, stream, body) if body else b"")
        )
        await self._writer.drain()
        return stream

    async def wait_ended(self, count: int) -> None:
        """Return when the server has ended so many streams."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: len(self.ended) >= count)

    async def wait_closed(self) -> None:
        """Return when the server has closed the connection."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.is_closed)

    async def follow(self) -> None:
        """Read what comes until the connection ends."""
        try:
            while True:
                head = await self._reader.readexactly(9)
                size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
                stream = int.from_bytes(head[5:]) & 0x7FFFFFFF
                self._take(kind, flags, stream, await self._reader.readexactly(size))
                async with self._changed:
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_closed = True
            async with self._changed:
                self._changed.notify_all()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in {SETTINGS, PING} and not flags & ACK:
            answer = payload if kind == PING else b""
            self._writer.write(_frame(kind, ACK, 0, answer))
        if kind == HEADERS and b"grpc-status" in payload:
            after = payload.split(b"grpc-status", 1)[1]
            self.statuses[after[1 : 1 + after[0]].decode()] += 1
        if kind == RST_STREAM or (kind in {HEADERS, DATA} and flags & END_STREAM):
            self.ended.add(stream)


@asynccontextmanager
async def raw_client(port: int, *, window_bytes: int = 65535) -> AsyncGenerator[RawClient, None]:
    """Connect, and hang up at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer)
    client.greet(window_bytes)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(client.follow())
        try:
            yield client
        finally:
            following.cancel()
            writer.transport.abort()


def message(body: bytes, announced: int | None = None) -> bytes:
    """Return a gRPC message, which may announce more than it has."""
    return b"\0" + struct.pack(">I", len(body) if announced is None else announced) + body


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    """Return a header that enters no table."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
