"""Batches: many calls in, each answered as if it had come alone.

Decodes the calls, joins those that may share a run, runs the model, and splits what comes out.
Knows the model by its Protocol only. A run that fails is repeated member by member, once, so that
one bad request never fails its neighbours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headrace.consumer.core.calls import Answer, Call, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, RequestError, UnreadableRequest
from headrace.consumer.formats.members import Member, member
from headrace.consumer.formats.request import Format, Rows
from headrace.consumer.platforms.platform import Array, Model, PlatformError

_EXPIRED = Answer(
    Code.DEADLINE_EXCEEDED, message="the deadline passed before the request reached the model"
)


class Answered(NamedTuple):
    """Answers, and the places in the sequence of calls that they belong to."""

    positions: list[int]
    answers: list[Answer]


class Batcher:
    """Answers calls with one model.

    **Concurrency:** one caller at a time; blocking.
    """

    def __init__(self, model: Model, formats: Mapping[Encoding, Format], max_rows: int) -> None:
        self._model = model
        self._formats = formats
        self.max_rows = max_rows

    def answer(self, calls: Sequence[Call]) -> Iterator[Answered]:
        """Yield the answers to all calls, after each run those that it gave.

        Shapes: a run has at most `max_rows` rows, unless one request alone brings more.
        """
        refused = Answered([], [])
        groups: dict[object, list[Member]] = {}
        for each in self._members(calls, refused):
            # Members without a key get one of their own, which no other can have.
            groups.setdefault(each.key or (each.position,), []).append(each)
        if refused.positions:
            yield refused
        for group in groups.values():
            for batch in _chunks(group, self.max_rows):
                yield Answered([each.position for each in batch], self._run(batch))

    def _members(self, calls: Sequence[Call], refused: Answered) -> Iterator[Member]:
        """Yield the calls that can run; the others are answered in `refused`."""
        now = time.monotonic()
        by_encoding: dict[Encoding, list[int]] = {}
        for position, call in enumerate(calls):
            if call.deadline_seconds <= now:
                refused.positions.append(position)
                refused.answers.append(_EXPIRED)
            else:
                by_encoding.setdefault(call.encoding, []).append(position)
        for encoding, positions in by_encoding.items():
            codec = self._formats[encoding]
            requests = codec.decode([calls[position].payload for position in positions])
            for position, request in zip(positions, requests, strict=True):
                try:
                    if isinstance(request, InvalidRequest):
                        raise request
                    deadline = calls[position].deadline_seconds
                    yield member(position, deadline, codec, request, self._model.signatures)
                except RequestError as error:
                    refused.positions.append(position)
                    refused.answers.append(_refusal(error))

    def _run(self, batch: Sequence[Member]) -> list[Answer]:
        """Return one answer for each member, in order."""
        now = time.monotonic()
        if any(each.deadline_seconds <= now for each in batch):
            return self._run_unexpired(batch, now)
        first = batch[0]
        if len(batch) == 1:
            inputs = first.inputs
        else:
            inputs = {
                alias: np.concatenate([each.inputs[alias] for each in batch])
                for alias in first.inputs
            }
        latest = max(each.deadline_seconds for each in batch)
        timeout = None if math.isinf(latest) else latest - now
        try:
            outputs = self._model.run(first.signature.name, inputs, first.outputs, timeout)
        except PlatformError as error:
            if len(batch) == 1:
                return [Answer(error.code, message=error.message)]
            return self._run_apart(batch)
        if len(batch) == 1:
            return _encoded(batch, outputs, [...])
        spans, total = _spans(batch)
        if any(array.ndim == 0 or array.shape[0] != total for array in outputs.values()):
            # The signature promised rows and the graph gave something else.
            return self._run_apart(batch)
        return _encoded(batch, outputs, spans)

    def _run_apart(self, batch: Iterable[Member]) -> list[Answer]:
        return [self._run([each])[0] for each in batch]

    def _run_unexpired(self, batch: Sequence[Member], now: float) -> list[Answer]:
        alive = [each for each in batch if each.deadline_seconds > now]
        answers = iter(self._run(alive) if alive else ())
        return [next(answers) if each.deadline_seconds > now else _EXPIRED for each in batch]


def _refusal(error: RequestError) -> Answer:
    return Answer(
        error.code, message=str(error), is_unreadable=isinstance(error, UnreadableRequest)
    )


def _chunks(group: Sequence[Member], max_rows: int) -> Iterator[list[Member]]:
    chunk: list[Member] = []
    rows = 0
    for each in group:
        if chunk and rows + each.rows > max_rows:
            yield chunk
            chunk, rows = [], 0
        chunk.append(each)
        rows += each.rows
    yield chunk


def _spans(batch: Iterable[Member]) -> tuple[list[slice], int]:
    """Return the rows of each member in the stacked arrays, and how many there are in all."""
    spans: list[slice] = []
    start = 0
    for each in batch:
        spans.append(slice(start, start + each.rows))
        start += each.rows
    return spans, start


def _encoded(
    batch: Sequence[Member], outputs: Mapping[str, Array], rows: Sequence[Rows]
) -> list[Answer]:
    """Return the members' answers, each in its own encoding."""
    signature = batch[0].signature.name
    places: dict[Format, list[int]] = {}
    for place, each in enumerate(batch):
        places.setdefault(each.format, []).append(place)
    answers = [_EXPIRED] * len(batch)
    for codec, mine in places.items():
        try:
            payloads = codec.encode(signature, outputs, [rows[place] for place in mine])
        except ValueError as error:
            unfit = Answer(Code.UNIMPLEMENTED, message=str(error))
            for place in mine:
                answers[place] = unfit
            continue
        for place, payload in zip(mine, payloads, strict=True):
            answers[place] = Answer(Code.OK, payload)
    return answers
