"""Batches: many requests in, each answered as if it had come alone.

Decodes the requests, joins those that may share a run, and splits what comes out; how the rows of
a run go through the model is `runs`, what makes different lengths fit is `padding`. A run that
fails is repeated request by request, once, so that one bad request never fails its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, RequestError, UnreadableRequest
from headrace.consumer.formats.answered import Answered, failed, joined
from headrace.consumer.formats.members import Member, member
from headrace.consumer.formats.padding import Cut, Lengths, may_be_padded, padded
from headrace.consumer.formats.request import Format, Refused
from headrace.consumer.formats.runs import Rows, Runner
from headrace.consumer.formats.sorting import Lot, chunks, flat, lots, taken
from headrace.consumer.platforms.platform import Array, Model, PlatformError
from headrace.schemas.records import Batching, LargeRequests

MAX_HELD_BYTES: Final = 1 << 28
"""Of decoded tensors before they are run, but for one request: a frame's may be far larger than the
frame."""

_EXPIRED = Fault(Code.DEADLINE_EXCEEDED, "the deadline passed before the request reached the model")


class Batcher:
    """Answers calls with one model.

    **Concurrency:** one caller at a time; blocking.
    """

    def __init__(self, model: Model, formats: Mapping[Encoding, Format], rules: Batching) -> None:
        self._signatures = model.signatures
        self._formats = formats
        self._runner = Runner(model, rules)
        self._lengths = Lengths()

    @property
    def rules(self) -> Batching:
        """How requests are joined; what is set counts from the next `answer` on."""
        return self._runner.rules

    @rules.setter
    def rules(self, rules: Batching) -> None:
        self._runner.rules = rules

    def answer(
        self, calls: Sequence[Calls], deadlines: Sequence[float] | None = None
    ) -> Iterator[Answered]:
        """Yield the answers to all calls, after each run those that it gave.

        Positions count through all of `calls`, in their order. So do `deadlines`, if they are not
        those of `calls`: one that moves to the past counts for the runs that are to come.

        Shapes: a run has at most `max_rows` rows, unless one request alone brings more and the
        rules have it run whole.
        """
        if deadlines is None:
            deadlines = flat([each.deadlines_seconds for each in calls])
        alive, expired = lots(calls, time.monotonic())
        refused = [failed(expired, _EXPIRED)] if expired else []
        groups: dict[Hashable, list[Member]] = {}
        held_bytes = 0
        for each in self._members(alive, refused):
            # Members without a key get one of their own, which no other can have.
            groups.setdefault(each.key or (each.positions[0],), []).append(each)
            held_bytes += each.size_bytes
            if held_bytes > MAX_HELD_BYTES:
                yield from self._run_groups(groups, deadlines)
                groups, held_bytes = {}, 0
        if refused:
            yield joined(refused)
        yield from self._run_groups(groups, deadlines)

    def _run_groups(
        self, groups: Mapping[Hashable, Sequence[Member]], deadlines: Sequence[float]
    ) -> Iterator[Answered]:
        for group in groups.values():
            # Without a key, each request is a run.
            max_rows = self.rules.max_rows if group[0].key is not None else 1
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
                    valid = self._allowed(member(codec, alike, self._signatures))
                except RequestError as error:
                    refused.append(failed(positions, _fault(error)))
                else:
                    yield valid

    def _allowed(self, valid: Member) -> Member:
        """Return a member as the rules want it, or raise InvalidRequest."""
        rules = self.rules
        is_large = valid.rows > rules.max_rows
        if is_large and rules.large_requests is LargeRequests.REFUSE:
            raise InvalidRequest(
                f"Task size {valid.rows} is larger than maximum input batch size "
                f"{rules.max_rows}: send fewer rows at once, or have the model's configuration "
                "split large requests"
            )
        return may_be_padded(valid) if rules.pads_variable_length else valid

    def _run(self, batch: Sequence[Member], deadlines: Sequence[float]) -> Answered:
        """Return the answers to all requests of a batch."""
        now = time.monotonic()
        until = taken(deadlines, flat([each.positions for each in batch]))
        if min(until) <= now:
            return self._run_unexpired(batch, deadlines, now)
        is_alone = len(until) == 1
        try:
            parts = self._answers(batch, max(until), is_alone=is_alone)
        except PlatformError as error:
            if is_alone:
                return failed(batch[0].positions, Fault(error.code, error.message))
            parts = None
        return self._run_apart(batch, deadlines) if parts is None else joined(parts)

    def _answers(
        self, batch: Sequence[Member], until: float, *, is_alone: bool
    ) -> Iterator[Answered] | None:
        """Run a batch; return None when its requests are to be run one by one.

        Padded they would be too large, or what the model gives cannot be told apart.
        """
        first, pads = batch[0], self.rules.pads_variable_length
        fed = padded(batch) if pads and not is_alone else batch
        if fed is None:
            return None
        rows = None
        if first.key is not None:
            rows = sum(each.rows * len(each.positions) for each in fed)
        what = Rows(first.signature.name, _inputs(fed), first.outputs, rows, until)
        outputs = self._runner.run(what, is_one_request=is_alone)
        if outputs is None:
            # The signature promised rows and the graph gave something else.
            return None
        if pads and rows is not None:
            self._lengths.observe(first.signature, what.inputs, outputs)
        if fed is batch:
            return _encoded(batch, outputs, is_alone=is_alone)
        cuts = self._lengths.cuts(batch, outputs)
        return None if cuts is None else _cut(batch, outputs, cuts)

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


def _cut(
    batch: Sequence[Member], outputs: Mapping[str, Array], cuts: Sequence[Cut]
) -> Iterator[Answered]:
    """Yield the answers of a padded run, those of equal lengths together."""
    start = 0
    for cut, run in groupby(zip(cuts, batch, strict=True), itemgetter(0)):
        members = [each for _, each in run]
        stop = start + sum(each.rows * len(each.positions) for each in members)
        own = {alias: array[start:stop][cut[alias]] for alias, array in outputs.items()}
        yield from _encoded(members, own, is_alone=False)
        start = stop


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
