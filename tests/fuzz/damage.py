"""What may happen to the bytes of a message, by chance or with intent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import strategies as st

from headrace.consumer.formats.wire import delimited, varint


def fields_of(message: bytes) -> list[bytes] | None:
    """Return the fields of a protobuf message, each with its tag; None when it is none."""
    found: list[bytes] = []
    place = 0
    while place < len(message):
        start = place
        tag, place = _number(message, place)
        match tag & 7:
            case 0:
                _, place = _number(message, place)
            case 1:
                place += 8
            case 2:
                length, place = _number(message, place)
                place += length
            case 5:
                place += 4
            case _:
                return None
        if place > len(message):
            return None
        found.append(message[start:place])
    return found


def _number(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place
    return value, len(message) + 1


def _flipped(draw: st.DrawFn, payload: bytes) -> bytes:
    changed = bytearray(payload)
    for place in draw(st.lists(st.integers(0, 8 * len(payload) - 1), min_size=1, max_size=4)):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def _cut(draw: st.DrawFn, payload: bytes) -> bytes:
    return payload[: draw(st.integers(0, len(payload) - 1))]


def _repeated(draw: st.DrawFn, payload: bytes) -> bytes:
    start = draw(st.integers(0, len(payload) - 1))
    stop = draw(st.integers(start, min(len(payload), start + 16)))
    return payload[:start] + payload[start:stop] * draw(st.integers(2, 20)) + payload[stop:]


def _huge(draw: st.DrawFn, payload: bytes) -> bytes:
    """Put an enormous number, or one that never ends, in place of a byte."""
    place = draw(st.integers(0, len(payload) - 1))
    number = draw(
        st.sampled_from([varint(2**31), varint(2**63), b"\xff" * 9 + b"\x01", b"\xff" * 40])
    )
    return payload[:place] + number + payload[place + 1 :]


def _reordered(draw: st.DrawFn, payload: bytes) -> bytes:
    fields = fields_of(payload)
    if not fields:
        return payload[::-1]
    picked = draw(st.lists(st.sampled_from(fields), max_size=2 * len(fields)))
    return b"".join(picked)


def _nested(draw: st.DrawFn, payload: bytes) -> bytes:
    """Wrap the payload in a field of its own kind, over and over; JSON in lists."""
    depth = draw(st.sampled_from([1, 3, 120, 1200]))
    if payload[:1] == b"{":
        return b'{"inputs":' + b"[" * depth + payload + b"]" * depth + b"}"
    number = draw(st.integers(1, 7))
    for _ in range(min(depth, 200)):
        payload = delimited(number, payload)
    return payload


_DAMAGES: Final[Sequence[Callable[[st.DrawFn, bytes], bytes]]] = (
    _flipped,
    _cut,
    _repeated,
    _huge,
    _reordered,
    _nested,
)


@st.composite
def damaged(draw: st.DrawFn, payloads: st.SearchStrategy[bytes]) -> bytes:
    """Return a payload with one to three damages."""
    payload = draw(payloads)
    for damage in draw(st.lists(st.sampled_from(_DAMAGES), min_size=1, max_size=3)):
        if payload:
            payload = damage(draw, payload)
    return payload
