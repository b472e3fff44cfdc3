"""How rows go through the model: filled up to an allowed size, or over several runs.

Knows nothing of requests and formats: rows in, as many rows out. What a signature promises is
checked here, and nobody else's rows are given away where a graph does not keep the promise.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import Array, Model, PlatformError
from headrace.schemas.records import Batching, LargeRequests


class Rows(NamedTuple):
    """What to run.

    Shapes: each input begins with `rows`, unless `rows` is None: then it is one request, and no
    dimension of it is known to be that of rows.
    Units: `until_seconds` is a reading of `time.monotonic()`.
    """

    signature: str
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    rows: int | None
    until_seconds: float


class Runner:
    """Runs rows by the rules of batching that stand in `rules`.

    **Concurrency:** one caller at a time; blocking.
    """

    def __init__(self, model: Model, rules: Batching) -> None:
        self._model = model
        self.rules = rules

    def run(self, what: Rows, *, is_one_request: bool) -> Mapping[str, Array] | None:
        """Return the outputs, with as many rows as went in.

        None, when the graph gave others than promised; for one request, which need not be told
        apart from others, what the graph gives is its answer.

        Raises:
            PlatformError: the model failed, or time ran out before all rows were through.
        """
        parts = self._parts(what)
        if parts is None:
            outputs = self._ran(what)
            return outputs if is_one_request or _has_rows(outputs, what.rows) else None
        found: list[Mapping[str, Array]] = []
        for part, size in parts:
            outputs = self._ran(part)
            if not _has_rows(outputs, part.rows):
                return self._ran(what) if is_one_request else None
            found.append({alias: array[:size] for alias, array in outputs.items()})
        if len(found) == 1:
            return found[0]
        return {alias: np.concatenate([each[alias] for each in found]) for alias in what.outputs}

    def _parts(self, what: Rows) -> Iterator[tuple[Rows, int]] | None:
        """Return the runs to make, each with how many of its rows count; None for one as it is."""
        rules, rows = self.rules, what.rows
        if not rows:
            return None
        is_split = rows > rules.max_rows and rules.large_requests is LargeRequests.SPLIT
        if not is_split and _filled_size(rows, rules.allowed_rows) == rows:
            return None
        size = rules.max_rows if is_split else rows
        return (
            (_part(what, start, min(size, rows - start), rules.allowed_rows))
            for start in range(0, rows, size)
        )

    def _ran(self, what: Rows) -> Mapping[str, Array]:
        timeout = None
        if not math.isinf(what.until_seconds):
            timeout = what.until_seconds - time.monotonic()
            if timeout <= 0:
                raise PlatformError(
                    Code.DEADLINE_EXCEEDED, "the deadline passed before all rows had been run"
                )
        return self._model.run(what.signature, what.inputs, what.outputs, timeout)


def _part(what: Rows, start: int, size: int, allowed: Sequence[int]) -> tuple[Rows, int]:
    """Return some of the rows, filled up to an allowed size, and how many they are."""
    filled = _filled_size(size, allowed)
    inputs = {alias: array[start : start + size] for alias, array in what.inputs.items()}
    if filled > size:
        # A row that came with a request is one that the model can take.
        inputs = {
            alias: np.concatenate([rows, np.repeat(rows[:1], filled - size, axis=0)])
            for alias, rows in inputs.items()
        }
    return what._replace(inputs=inputs, rows=filled), size


def _filled_size(rows: int, allowed: Sequence[int]) -> int:
    """Return the least allowed size that holds the rows; their number where there is none."""
    place = bisect_left(allowed, rows)
    return allowed[place] if place < len(allowed) else rows


def _has_rows(outputs: Mapping[str, Array], rows: int | None) -> bool:
    """Whether every output has so many rows."""
    return all(array.ndim and array.shape[0] == rows for array in outputs.values())
