"""Layouts: learned only where tensors are plain bytes in a message as its encoder writes it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headrace.consumer.formats.layout import learned
from headrace.consumer.platforms.platform import Array

A = np.array([1, 2, 3], np.int16)
B = np.array([[7]], np.uint8)


def plain(tensors: Mapping[str, Array]) -> bytes:
    """Return names and bytes, the last tensor first."""
    pieces = [alias.encode() + array.tobytes() for alias, array in reversed(list(tensors.items()))]
    return b"<" + b"".join(pieces) + b">"


def rows(*messages: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return messages of one length as a matrix."""
    return np.frombuffer(b"".join(messages), np.uint8).reshape(len(messages), -1)


def test_finds_tensors_in_any_order_of_the_message() -> None:
    """Reading and writing are each other's reverse, wherever the tensors lie."""
    first, second = plain({"a": A, "b": B}), plain({"a": A[::-1].copy(), "b": B + 1})
    layout = learned(plain, {"a": A, "b": B}, first)
    assert layout is not None
    tensors = layout.read(rows(first, second))
    assert tensors["a"].tolist() == [[1, 2, 3], [3, 2, 1]]
    assert tensors["b"].tolist() == [[[7]], [[8]]]
    assert layout.write(tensors, 2) == [first, second]


def test_only_messages_that_are_the_same_around_the_tensors_match() -> None:
    """One other byte beside the tensors is another form."""
    first = plain({"a": A, "b": B})
    layout = learned(plain, {"a": A, "b": B}, first)
    assert layout is not None
    others = [b"[" + first[1:], first[:-1] + b"]", first.replace(b"a", b"c")]
    assert layout.matches(rows(first, *others)).tolist() == [True, False, False, False]


def test_learns_nothing_from_a_message_written_otherwise() -> None:
    """What the encoder would write another way, its layout does not describe."""
    assert learned(plain, {"a": A}, plain({"a": A})[:-1] + b"]") is None


def test_learns_nothing_where_numbers_take_as_many_bytes_as_they_need() -> None:
    """Numbers as protobuf writes them are no plain bytes, even where each takes one."""

    def varints(tensors: Mapping[str, Array]) -> bytes:
        message = bytearray()
        for value in (value for array in tensors.values() for value in array.ravel().tolist()):
            left = value % 2**64
            while left > 127:
                message.append(left & 127 | 128)
                left >>= 7
            message.append(left)
        return bytes(message)

    for small in (np.ones(3, np.int8), B):
        assert learned(varints, {"a": small}, varints({"a": small})) is None


def test_learns_nothing_of_messages_that_are_mostly_text() -> None:
    """A layout is remembered, so what is not tensors has a bound."""
    alias = "a" * 5000
    assert learned(plain, {alias: A}, plain({alias: A})) is None


def test_learns_nothing_where_no_row_could_be_added() -> None:
    """Beside a zero, a shape may have dimensions that leave no room for a leading axis."""
    vast = np.zeros((0, 2**50), np.uint8)
    assert learned(plain, {"a": vast}, plain({"a": vast})) is None
