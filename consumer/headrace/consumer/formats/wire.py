"""Protobuf's wire format by hand, where the class of a message would cost too much."""

from __future__ import annotations

from typing import Final

_MAX_LENGTH_BYTES: Final = 5


def varint(value: int) -> bytes:
    """Return a number as protobuf writes lengths."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(number: int, value: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes((number << 3 | 2,)) + varint(len(value)) + value


def end_of_field(message: bytes, start: int, number: int) -> int:
    """Return where a length-delimited field that begins at `start` ends.

    Returns:
        `start` when no field of that number begins there; more than the length of the message when
        the field is cut off.
    """
    if len(message) <= start or message[start] != number << 3 | 2:
        return start
    length = shift = 0
    for place in range(start + 1, min(start + 1 + _MAX_LENGTH_BYTES, len(message))):
        byte = message[place]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return place + 1 + length
        shift += 7
    return len(message) + 1
