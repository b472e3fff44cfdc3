"""Where the values of tensors lie in encoded messages that differ in nothing else.

Learned by encoding a message twice, with all bytes of its tensors zero, and with all bytes of each
tensor equal to a mark of its own: what differs are the tensors. With that, many messages are read
or written by a few copies of whole columns, without a look at any one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.consumer.platforms.platform import Array

_MAX_TEXT_BYTES: Final = 4096
"""Of what lies around the tensors: names and shapes take less, and layouts are remembered."""

_BLOCK_BYTES: Final = 1 << 18
"""Messages written in one go: few enough to be in the processor's cache when they are cut."""

_MAX_ELEMENTS: Final = 1 << 40
"""Beside a zero, a shape may have dimensions that leave numpy no room for a leading axis."""

_MAX_TENSORS: Final = 128
"""Marks count down from 255 and must stay above 127. A number written with as many bytes as it
needs then takes more for a mark than for zero, and is not mistaken for plain bytes."""

Bytes = npt.NDArray[np.uint8]


class Field(NamedTuple):
    """One tensor of a message, and the bytes it takes there."""

    alias: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    span: slice


class Layout:
    """What messages of one form have in common.

    **Concurrency:** immutable; share it freely.
    Shapes: messages are the rows of a matrix, `(messages, length) uint8`.
    """

    def __init__(self, text: Bytes, fields: tuple[Field, ...]) -> None:
        self.length = len(text)
        self._fields = fields
        # An empty tensor has no bytes, and so no place among the others.
        self._filled = sorted(
            (field for field in fields if field.span.stop > field.span.start),
            key=lambda field: field.span.start,
        )
        self._booleans = [field for field in fields if field.dtype.kind == "b"]
        self._gaps: list[tuple[slice, Bytes]] = []
        start = 0
        for span in [*(field.span for field in self._filled), slice(self.length, None)]:
            if span.start > start:
                gap = slice(start, span.start)
                self._gaps.append((gap, text[gap].copy()))
            start = span.stop

    def matches(self, messages: Bytes) -> npt.NDArray[np.bool_]:
        """Return for each message whether it has this layout, and can be read by it."""
        same = np.ones(len(messages), np.bool_)
        for gap, text in self._gaps:
            same &= (messages[:, gap] == text).all(axis=1)
        for field in self._booleans:
            same &= (messages[:, field.span] <= 1).all(axis=1)
        return same

    def read(self, messages: Bytes) -> dict[str, Array]:
        """Return the tensors of messages that match.

        Shapes: `(messages, *shape of one)` for each tensor.
        """
        count = len(messages)
        return {
            alias: np.ascontiguousarray(messages[:, span]).view(dtype).reshape(count, *shape)
            for alias, dtype, shape, span in self._fields
        }

    def write(self, tensors: Mapping[str, Array], count: int) -> list[bytes]:
        """Return so many messages with these tensors; the reverse of `read`."""
        columns = [(field.span, _as_bytes(tensors[field.alias], count)) for field in self._filled]
        step = max(1, _BLOCK_BYTES // self.length)
        messages: list[bytes] = []
        block = np.empty((min(step, count), self.length), np.uint8)
        for gap, text in self._gaps:
            block[:, gap] = text
        for start in range(0, count, step):
            block = block[: count - start]
            for span, column in columns:
                block[:, span] = column[start : start + step]
            messages += block.view(f"V{self.length}").ravel().tolist()
        return messages


def learned(
    encode: Callable[[Mapping[str, Array]], bytes], tensors: Mapping[str, Array], message: bytes
) -> Layout | None:
    """Return the layout of a message.

    Args:
        encode: returns the message with other values in its tensors.
        tensors: those of the message.
        message: what `encode` is to make of the tensors.

    Returns:
        None when there is no such layout, or the message is not what `encode` makes of it.
    """
    size = sum(array.nbytes for array in tensors.values())
    # A message may stand for more than it carries; then there is nothing to learn from it.
    text_bytes = len(message) - size
    is_usual = len(message) > 0 and 0 <= text_bytes <= _MAX_TEXT_BYTES
    is_usual &= len(tensors) <= _MAX_TENSORS
    if not is_usual or not all(map(_is_small, tensors.values())):
        return None
    marks = {alias: 255 - index for index, alias in enumerate(tensors)}
    clear = _text(encode({alias: _filled(array, 0) for alias, array in tensors.items()}))
    marked = _text(encode({a: _filled(array, marks[a]) for a, array in tensors.items()}))
    if not len(clear) == len(marked) == len(message):
        return None
    places = np.flatnonzero(clear != marked)
    fields: list[Field] = []
    for alias, array in tensors.items():
        span = _span(places[marked[places] == marks[alias]])
        if span.stop - span.start != array.nbytes:
            return None
        fields.append(Field(alias, array.dtype, array.shape, span))
    layout = Layout(clear, tuple(fields))
    stacked = {alias: array[None] for alias, array in tensors.items()}
    return layout if len(places) == size and layout.write(stacked, 1) == [message] else None


def _text(message: bytes) -> Bytes:
    return np.frombuffer(message, np.uint8)


def _span(places: npt.NDArray[np.intp]) -> slice:
    """Return the span from the first place to the last."""
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _is_small(array: Array) -> bool:
    elements: int = math.prod([size for size in array.shape if size])
    return elements <= _MAX_ELEMENTS


def _filled(array: Array, byte: int) -> Array:
    """Return an array of the same form with all its bytes alike."""
    return np.full(array.nbytes, byte, np.uint8).view(array.dtype).reshape(array.shape)


def _as_bytes(array: Array, count: int) -> Bytes:
    """Return the bytes of each of `count` stacked tensors."""
    return np.ascontiguousarray(array).reshape(count, -1).view(np.uint8)
