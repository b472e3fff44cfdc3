"""Batches: many requests in, each answered as if it had come alone.

Decodes the requests, joins those that may share a run, runs the model, and splits what comes out.
Knows the model by its Protocol only. A run that fails is repeated request by request, once, so that
one bad request never fails its neighbours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RequestError, UnreadableRequest
from headrace.consumer.formats.answered import Answered, failed, joined
from headrace.consumer.formats.members import Member, member
from headrace.consumer.formats.request import Format, Refused
from headrace.consumer.formats.sorting import Lot, chunks, flat, lots, taken
from headrace.consumer.platforms.platform import Array, Model, PlatformError

_EXPIRED = Fault(Code.DEADLINE_EXCEEDED, "the deadline passed before the request reached the model")


class Batcher:
    """Answers calls with one model.

    **Concurrency:** one caller at a time; blocking.
    """

    def __init__(self, model: Model, formats: Mapping[Encoding, Format], max_rows: int) -> None:
        self._model = model
        self._formats = formats
        self.max_rows = max_rows

    def answer(self, calls: Sequence[Calls]) -> Iterator[Answered]:
        """Yield the answers to all calls, after each run those that it gave.

        Positions count through all of `calls`, in their order.

        Shapes: a run has at most `max_rows` rows, unless one request alone brings more.
        """
        deadlines = flat([each.deadlines_seconds for each in calls])
        alive, expired = lots(calls, time.monotonic())
        refused = [failed(expired, _EXPIRED)] if expired else []
        groups: dict[Hashable, list[Member]] = {}
        for each in self._members(alive, refused):
            # Members without a key get one of their own, which no other can have.
            groups.setdefault(each.key or (each.positions[0],), []).append(each)
        if refused:
            yield joined(refused)
        for group in groups.values():
            # Without a key, each request is a run.
            max_rows = self.max_rows if group[0].key is not None else 1
            for batch in chunks(group, max_rows):
                yield self._run(batch, deadlines)

    def _members(self, alive: Iterable[Lot], refused: list[Answered]) -> Iterator[Member]:
        """Yield the requests that can run; the others are answered in `refused`."""
        for encoding, places, payloads in alive:
            codec = self._formats[encoding]
            for each in codec.decode(payloads):
                if isinstance(each, Refused):
                    refused.append(failed([places[each.position]], _fault(each.error)))
                    continue
                positions = taken(places, each.positions)
                alike = each._replace(positions=positions)
                try:
                    valid = member(codec, alike, self._model.signatures)
                except RequestError as error:
                    refused.append(failed(positions, _fault(error)))
                else:
                    yield valid

    def _run(self, batch: Sequence[Member], deadlines: Sequence[float]) -> Answered:
        """Return the answers to all requests of a batch."""
        now = time.monotonic()
        until = taken(deadlines, flat([each.positions for each in batch]))
        if min(until) <= now:
            return self._run_unexpired(batch, deadlines, now)
        latest = max(until)
        timeout = None if math.isinf(latest) else latest - now
        first, is_alone = batch[0], len(until) == 1
        try:
            outputs = self._model.run(first.signature.name, _inputs(batch), first.outputs, timeout)
        except PlatformError as error:
            if is_alone:
                return failed(first.positions, Fault(error.code, error.message))
            return self._run_apart(batch, deadlines)
        if not is_alone and not _has_rows(outputs, batch):
            # The signature promised rows and the graph gave something else.
            return self._run_apart(batch, deadlines)
        return joined(_encoded(batch, outputs, is_alone=is_alone))

    def _run_unexpired(
        self, batch: Sequence[Member], deadlines: Sequence[float], now: float
    ) -> Answered:
        alive: list[Member] = []
        expired: list[int] = []
        for each in batch:
            places = [i for i, p in enumerate(each.positions) if deadlines[p] > now]
            expired += [position for position in each.positions if deadlines[position] <= now]
            if places:
                alive.append(each.chosen(places))
        parts = [failed(expired, _EXPIRED)]
        if alive:
            parts.append(self._run(alive, deadlines))
        return joined(parts)

    def _run_apart(self, batch: Iterable[Member], deadlines: Sequence[float]) -> Answered:
        return joined(
            self._run([each.part(place, place + 1)], deadlines)
            for each in batch
            for place in range(len(each.positions))
        )


def _fault(error: RequestError) -> Fault:
    return Fault(error.code, str(error), is_unreadable=isinstance(error, UnreadableRequest))


def _inputs(batch: Sequence[Member]) -> dict[str, Array]:
    """Return what a run is fed: the input of the only request, or the rows of all."""
    first = batch[0]
    if len(batch) == 1 and len(first.positions) == 1:
        return {alias: array[0, ...] for alias, array in first.inputs.items()}
    rows = {alias: [_as_rows(each.inputs[alias]) for each in batch] for alias in first.inputs}
    return {
        alias: parts[0] if len(parts) == 1 else np.concatenate(parts)
        for alias, parts in rows.items()
    }


def _as_rows(array: Array) -> Array:
    count, rows, *rest = array.shape
    return array.reshape(count * rows, *rest)


def _has_rows(outputs: Mapping[str, Array], batch: Iterable[Member]) -> bool:
    """Whether every output has as many rows as the inputs had."""
    total = sum(each.rows * len(each.positions) for each in batch)
    return all(array.ndim and array.shape[0] == total for array in outputs.values())


def _encoded(
    batch: Sequence[Member], outputs: Mapping[str, Array], *, is_alone: bool
) -> Iterator[Answered]:
    """Yield the answers, those in one encoding and style and of as many rows together."""
    start = 0
    for (codec, style, rows), run in groupby(batch, lambda m: (m.format, m.style, m.rows)):
        members = list(run)
        positions = flat([each.positions for each in members])
        count = len(positions)
        try:
            if is_alone:
                parts = {a: array.reshape(1, *array.shape) for a, array in outputs.items()}
            else:
                mine = slice(start, start + count * rows)
                parts = {
                    a: array[mine].reshape(count, rows, *array.shape[1:])
                    for a, array in outputs.items()
                }
            payloads = codec.encode(batch[0].signature.name, parts, count, style)
        except RequestError as error:
            yield failed(positions, _fault(error))
        except ValueError as error:
            yield failed(positions, Fault(Code.UNIMPLEMENTED, str(error)))
        else:
            yield Answered(positions, payloads, {})
        start += count * rows
