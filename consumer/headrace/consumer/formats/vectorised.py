"""Requests of equal form read all at once, and answers of equal form written all at once.

Requests for one model mostly differ in the values of their tensors only. Those are read by columns
of a matrix (`layout`); whatever else comes takes the ordinary path, and the outcome is the same to
the last byte.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.consumer.formats import layout
from headrace.consumer.formats.layout import Bytes, Layout
from headrace.consumer.formats.ordinary import Codec, Ordinary
from headrace.consumer.formats.request import Alike, InferRequest, Refused
from headrace.consumer.platforms.platform import Array

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_PAYLOAD_BYTES: Final = 1 << 18
"""Larger payloads gain nothing: reading one costs little beside copying it."""

_MIN_TO_LEARN: Final = 4
"""Learning a layout takes as long as reading ten requests, and only pays when more will come."""

_MAX_LEARNED_AT_ONCE: Final = 4
"""Of one length in one decoding: where few requests are alike, learning costs more than reading."""

_MAX_LENGTHS: Final = 64
_MAX_FORMS_OF_A_LENGTH: Final = 4
_MAX_ANSWER_LAYOUTS: Final = 64


class RawCodec(Codec, Protocol):
    """A codec that may write tensors as their bytes in memory, one after another.

    **Concurrency:** one caller at a time.
    """

    @property
    def raw_dtypes(self) -> frozenset[np.dtype[Any]]:
        """The dtypes of such tensors; it may also write them otherwise."""
        ...

    def rewriter(self, payload: bytes) -> Callable[[Mapping[str, Array]], bytes]:
        """Return what encodes a request that was read before with other values in its inputs."""
        ...


class _Form(NamedTuple):
    """The layout of requests, and what is the same in all of them: a request without inputs."""

    layout: Layout
    request: InferRequest

    def alike(self, positions: Sequence[int], messages: Bytes) -> Alike:
        """Return the requests in messages that match."""
        return Alike(positions, self.request._replace(inputs=self.layout.read(messages)))


class Vectorised:
    """A format that handles at once what is alike, and the rest by the ordinary path.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, codec: RawCodec) -> None:
        self._codec = codec
        self._ordinary = Ordinary(codec)
        # What was used last is at the end.
        self._forms: OrderedDict[int, deque[_Form]] = OrderedDict()
        self._answers: OrderedDict[Hashable, Layout | None] = OrderedDict()

    def decode(self, payloads: Sequence[bytes]) -> Iterator[Alike | Refused]:
        """Yield the requests in the payloads; see `request.Format.decode`."""
        for length, positions in _by_length(payloads):
            least = 2 if length in self._forms else _MIN_TO_LEARN
            if len(positions) >= least and length <= MAX_PAYLOAD_BYTES:
                yield from self._decode_alike(payloads, positions, length)
            else:
                yield from self._decode_each(payloads, positions)

    def encode(
        self, signature: str, outputs: Mapping[str, Array], count: int, style: Hashable
    ) -> list[bytes]:
        """Return the answers; see `request.Format.encode`."""
        shapes = tuple([(alias, array.dtype, array.shape[1:]) for alias, array in outputs.items()])
        key = (signature, style, shapes)
        known = self._answers.get(key)
        if known is not None:
            self._answers.move_to_end(key)
        elif count >= _MIN_TO_LEARN and key not in self._answers:
            known = self._learn_answer(signature, outputs, style)
            _put(self._answers, key, known, _MAX_ANSWER_LAYOUTS)
        if known is None:
            return self._ordinary.encode(signature, outputs, count, style)
        return known.write(outputs, count)

    def _decode_each(
        self, payloads: Sequence[bytes], positions: Sequence[int]
    ) -> Iterator[Alike | Refused]:
        return (self._ordinary.decode_one(each, payloads[each]) for each in positions)

    def _decode_alike(
        self, payloads: Sequence[bytes], positions: Sequence[int], length: int
    ) -> Iterator[Alike | Refused]:
        """Yield the requests in payloads of one length."""
        mine = payloads if len(positions) == len(payloads) else [payloads[p] for p in positions]
        messages = np.frombuffer(b"".join(mine), np.uint8).reshape(len(mine), length)
        known = self._known_forms(length)
        lessons = _MAX_LEARNED_AT_ONCE
        while known or (lessons and len(positions) >= _MIN_TO_LEARN):
            if known:
                form = known.pop()
            else:
                lessons -= 1
                one, learned = self._learn(positions[0], payloads[positions[0]])
                if learned is None:
                    yield one
                    messages, positions = messages[1:], positions[1:]
                    continue
                form = learned
            same = form.layout.matches(messages)
            if same.all():
                yield form.alike(positions, messages)
                return
            if same.any():
                yield form.alike(_chosen(positions, same), messages[same])
                messages, positions = messages[~same], _chosen(positions, ~same)
        yield from self._decode_each(payloads, positions)

    def _known_forms(self, length: int) -> list[_Form]:
        """Return the forms of a length, the last one learned at the end."""
        known = self._forms.get(length)
        if known is None:
            return []
        self._forms.move_to_end(length)
        return list(known)

    def _learn(self, position: int, payload: bytes) -> tuple[Alike | Refused, _Form | None]:
        """Return the request in a payload, and the form that others may share with it."""
        one = self._ordinary.decode_one(position, payload)
        if isinstance(one, Refused) or not self._are_raw(one.request.inputs):
            return one, None
        inputs = {alias: array[0, ...] for alias, array in one.request.inputs.items()}
        found = layout.learned(self._codec.rewriter(payload), inputs, payload)
        if found is None:
            return one, None
        form = _Form(found, one.request._replace(inputs={}))
        forms = self._forms.get(len(payload)) or deque[_Form](maxlen=_MAX_FORMS_OF_A_LENGTH)
        forms.append(form)
        _put(self._forms, len(payload), forms, _MAX_LENGTHS)
        return one, form

    def _learn_answer(
        self, signature: str, outputs: Mapping[str, Array], style: Hashable
    ) -> Layout | None:
        if not self._are_raw(outputs):
            return None
        first = {alias: array[0, ...] for alias, array in outputs.items()}
        return layout.learned(
            lambda tensors: self._codec.write(signature, tensors, style),
            first,
            self._codec.write(signature, first, style),
        )

    def _are_raw(self, tensors: Mapping[str, Array]) -> bool:
        return all(array.dtype in self._codec.raw_dtypes for array in tensors.values())


def _by_length(payloads: Sequence[bytes]) -> Iterable[tuple[int, Sequence[int]]]:
    """Return the positions of the payloads of each length."""
    lengths = list(map(len, payloads))
    if lengths and min(lengths) == max(lengths):
        return [(lengths[0], range(len(lengths)))]
    positions: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        positions.setdefault(length, []).append(position)
    return positions.items()


def _chosen(positions: Sequence[int], which: npt.NDArray[np.bool_]) -> list[int]:
    return list(compress(positions, which.tolist()))


def _put(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Remember a value, and forget the one that was used least lately when there are too many."""
    known[key] = value
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
