"""What Headrace promises in figures, and whether the results hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benchmarks.measurement import Json
from benchmarks.tables import EVENT, table

_NODE_MEMORY: Final = "Headrace node"


def render(found: Mapping[str, Json]) -> str:
    """Return each promise with what was measured and whether that holds it."""
    rows: list[tuple[str, str, str]] = []
    for benchmark, promise, judge in _PROMISES:
        if benchmark in found:
            measured, holds = judge(found[benchmark]["medians"])
            rows.append((promise, measured, "yes" if holds else "**no**"))
        else:
            rows.append((promise, "not measured yet", ""))
    return table(("promise", "measured", "holds"), rows)


def _judge_events(medians: Json) -> tuple[str, bool]:
    figures = [
        model[EVENT]["acknowledged_to_loading_read_ms"]["median"] for model in medians.values()
    ]
    return f"{_each(figures)} ms, as a reader of the status topic sees it", max(figures) <= 20


def _judge_replay(medians: Json) -> tuple[str, bool]:
    rate = medians["events_per_second"]
    return f"{rate:,} events/s", rate >= 30_000


def _judge_memory(medians: Json) -> tuple[str, bool]:
    node = medians[_NODE_MEMORY]
    growth = node["pss_mb_growth_percent"]
    anonymous = node["anonymous_mb_growth_percent"]
    return f"{growth:+g} % ({anonymous:+g} % of the anonymous part)", growth <= 5


def _judge_swaps(medians: Json) -> tuple[str, bool]:
    failed = sum(door["failed"] for door in medians["doors"].values())
    requests = sum(door["requests"] for door in medians["doors"].values())
    return f"{failed} of {requests:,} requests", failed == 0


_PROMISES: Final[tuple[tuple[str, str, Callable[[Json], tuple[str, bool]]], ...]] = (
    (
        "version_events",
        "a version event is LOADING within 20 ms of its acknowledgement (median)",
        _judge_events,
    ),
    (
        "control_replay",
        "a node replays at least 30,000 version events a second",
        _judge_replay,
    ),
    (
        "unload_memory",
        "after 20 times loading and unloading 100 MB, memory is at most 5 % above where it began",
        _judge_memory,
    ),
    ("swaps_under_load", "no request fails while versions swap, by either door", _judge_swaps),
)


def _each(figures: Sequence[float]) -> str:
    return " and ".join(f"{figure:g}" for figure in figures)
