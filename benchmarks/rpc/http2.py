"""gRPC calls on one HTTP/2 connection, written by hand: the cheapest client that Python can be.

All calls are alike but for their body and deadline, so a call is a few bytes put together, and an
answer is the first bytes of three frames read. Obeys what a server may ask: its bound of streams,
its window for requests, its pings. No table for the headers of answers, so that each comes spelt
out.

**Source:** RFC 9113, RFC 7541; gRPC over HTTP2.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Final, NamedTuple

from benchmarks.measurement import BenchmarkError

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_HEADER_TABLE_SIZE, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 1, 3, 4
_HEAD_BYTES: Final = 9
_FIRST_WINDOW_BYTES: Final = 65_535
_MOST: Final = 2**31 - 1
_REFUSED_STREAM, _CANCEL = 7, 8
_STATUS: Final = b"grpc-status"
_READ_BYTES: Final = 1 << 18
OK: Final = "0"


class Ended(NamedTuple):
    """How a call ended, as seen here. `status` is gRPC's number, or what HTTP/2 has to say."""

    due: float
    status: str


class Connection:
    """One connection and its calls, first come first served.

    A call that may not be sent yet waits here; one whose deadline passes is given up wherever it
    is, as clients of gRPC do.
    """

    def __init__(self, endpoint: str, path: str, timeout_seconds: float) -> None:
        host, _, port = endpoint.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._timeout_seconds = timeout_seconds
        settings = struct.pack(">HIHI", _INITIAL_WINDOW_SIZE, _MOST, _HEADER_TABLE_SIZE, 0)
        window = struct.pack(">I", _MOST - _FIRST_WINDOW_BYTES)
        self._out = bytearray(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window)
        )
        self._in = bytearray()
        self._headers = _Headers(endpoint, path)
        self._next_stream = 1
        # None until the server has said how many it allows: it resets those that come before.
        self._max_streams = 0
        self._window = _FIRST_WINDOW_BYTES
        # Invariant: both in order of due, since calls are sent in the order in which they come.
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._open: dict[int, tuple[float, bytes]] = {}
        self.answer_bytes = 0

    def fileno(self) -> int:
        """The socket, for `select`."""
        return self._socket.fileno()

    @property
    def inside(self) -> int:
        """How many calls have not ended."""
        return len(self._waiting) + len(self._open)

    @property
    def has_output(self) -> bool:
        """Whether the socket took less than there was."""
        return bool(self._out)

    def call(self, due: float, body: bytes) -> None:
        """Make a call, now or when the server lets us; `body` is a framed message."""
        self._waiting.append((due, body))

    def expire(self, now: float) -> list[float]:
        """Give up the calls whose deadline has passed, and return when they were due."""
        latest = now - self._timeout_seconds
        expired: list[float] = []
        while self._waiting and self._waiting[0][0] <= latest:
            expired.append(self._waiting.popleft()[0])
        while self._open:
            stream, (due, _) = next(iter(self._open.items()))
            if due > latest:
                break
            del self._open[stream]
            self._out += _frame(_RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))
            expired.append(due)
        return expired

    def send(self, now: float) -> None:
        """Send what may be sent."""
        while self._waiting and len(self._open) < self._max_streams:
            due, body = self._waiting[0]
            if self._window < len(body):
                break
            self._waiting.popleft()
            self._window -= len(body)
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            self._open[stream] = due, body
            left = max(0.001, due + self._timeout_seconds - now)
            self._out += _frame(_HEADERS, _END_HEADERS, stream, self._headers.block(left))
            self._out += _frame(_DATA, _END_STREAM, stream, body)
        if self._out:
            try:
                del self._out[: self._socket.send(self._out)]
            except BlockingIOError:
                return

    def receive(self) -> list[Ended]:
        """Read what is there, and return the calls that ended.

        Raises:
            BenchmarkError: the server ended the connection.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise BenchmarkError("the server closed the connection")
        self._in += data
        ended: list[Ended] = []
        view, place = bytes(self._in), 0
        while len(view) - place >= _HEAD_BYTES:
            size = int.from_bytes(view[place : place + 3])
            end = place + _HEAD_BYTES + size
            if end > len(view):
                break
            kind, flags = view[place + 3], view[place + 4]
            stream = int.from_bytes(view[place + 5 : place + _HEAD_BYTES])
            self._take(kind, flags, stream, view[place + _HEAD_BYTES : end], ended)
            place = end
        del self._in[:place]
        return ended

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _take(self, kind: int, flags: int, stream: int, body: bytes, ended: list[Ended]) -> None:
        if kind == _DATA:
            self.answer_bytes += len(body)
        elif kind == _HEADERS and flags & _END_STREAM:
            self._end(stream, _status_of(body), ended)
        elif kind == _RST_STREAM and int.from_bytes(body) == _REFUSED_STREAM:
            # Nothing was done, so a client tries again by itself.
            self._waiting.extendleft([self._open.pop(stream)] if stream in self._open else ())
        elif kind == _RST_STREAM:
            self._end(stream, f"RST_STREAM {int.from_bytes(body)}", ended)
        elif kind == _WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(body)
        elif kind == _SETTINGS and not flags & _ACK:
            self._max_streams = self._max_streams or _MOST
            for name, value in struct.iter_unpack(">HI", body):
                if name == _MAX_CONCURRENT_STREAMS:
                    self._max_streams = value
            self._out += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, body)
        elif kind == _GOAWAY:
            raise BenchmarkError(f"the server went away: {body[8:]!r}")

    def _end(self, stream: int, status: str, ended: list[Ended]) -> None:
        call = self._open.pop(stream, None)
        if call is not None:
            ended.append(Ended(call[0], status))


class _Headers:
    """The header block of each call: spelt out by the first, referred to by the others."""

    def __init__(self, endpoint: str, path: str) -> None:
        remembered = (
            (b"\x44", path),  # :path
            (b"\x41", endpoint),  # :authority
            (b"\x5f", "application/grpc"),  # content-type
            (b"\x40" + _text("te"), "trailers"),
        )
        fixed = b"\x83\x86"  # :method POST, :scheme http
        self._first = fixed + b"".join(name + _text(value) for name, value in remembered)
        # The newest entry of the table is 62.
        self._later = fixed + bytes(0x80 | 62 + age for age in range(len(remembered)))
        self._is_first = True

    def block(self, left_seconds: float) -> bytes:
        """Return the block of a call that has so much time."""
        known = self._first if self._is_first else self._later
        self._is_first = False
        timeout = f"{min(int(left_seconds * 1e6), 99_999_999)}u"
        return known + b"\x00" + _text("grpc-timeout") + _text(timeout)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">BHBBI", len(body) >> 16, len(body) & 0xFFFF, kind, flags, stream) + body


def _text(value: str) -> bytes:
    data = value.encode("ascii")
    assert len(data) < 127, "a length of one byte"
    return bytes([len(data)]) + data


def _status_of(block: bytes) -> str:
    """Return gRPC's status from trailers that are spelt out."""
    place = block.find(_STATUS) + len(_STATUS)
    if place < len(_STATUS):
        return "no status"
    return block[place + 1 : place + 1 + (block[place] & 0x7F)].decode("ascii", "replace")
