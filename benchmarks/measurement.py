"""What a benchmark is given and what it gives back; medians and percentiles."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class BenchmarkError(Exception):
    """A figure cannot be had here; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every benchmark is given: a scratch folder, its size, and someone to tell.

    The folder is removed when the benchmark is over. A quick run shows that the benchmark works;
    its figures mean little.
    """

    folder: Path
    is_quick: bool
    tell: Callable[[str], None]

    def size(self, full: int, quick: int) -> int:
        """Return how many of something this run does."""
        return quick if self.is_quick else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The outcome: what was asked, every raw figure, and the medians that the report shows."""

    parameters: Json
    runs: Sequence[Json]
    medians: Json


def spread(values: Iterable[float], digits: int = 1) -> Json:
    """Return count, median, 95th percentile, smallest and largest."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    return {
        "count": len(ordered),
        "median": round(statistics.median(ordered), digits),
        "p95": round(percentile(ordered, 95), digits),
        "min": round(ordered[0], digits),
        "max": round(ordered[-1], digits),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the ordered values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def medians_of(runs: Sequence[Mapping[str, Any]], digits: int = 3) -> Json:
    """Return the median of every numeric field over several runs of one kind."""
    return {
        name: round(statistics.median([run[name] for run in runs]), digits)
        for name, value in runs[0].items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
