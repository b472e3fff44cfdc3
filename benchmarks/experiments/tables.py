"""The report's tables of the experiments' benchmarks, each made of one benchmark's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.experiments import rollback, routing_loop
from benchmarks.measurement import Json
from benchmarks.tables import table


def _routing(outcome: Json) -> str:
    kinds = (routing_loop.KEYED, routing_loop.UNKEYED)
    rows = [
        (
            part,
            *(_cell(by_keys, keys, "ns", ",.0f") for keys in kinds),
            *(_cell(by_keys, keys, "ratio", ".2f") for keys in kinds),
        )
        for part, by_keys in outcome["medians"]["parts"].items()
    ]
    head = ("", *(f"ns, {keys}" for keys in kinds), *(f"ratio, {keys}" for keys in kinds))
    return table(head, rows)


def _cell(by_keys: Mapping[str, Json], keys: str, figure: str, form: str) -> str:
    return format(by_keys[keys][figure], form) if keys in by_keys else ""


def _rollback(outcome: Json) -> str:
    rows: list[tuple[str, ...]] = []
    nodes: tuple[str, ...] = ()
    for done, ways in outcome["medians"].items():
        for by, situations in ways.items():
            for situation, figures in situations.items():
                nodes = tuple(name for name in figures if name != rollback.DONE)
                cells = (_median_and_max(figures[name]) for name in (rollback.DONE, *nodes))
                rows.append((f"{done} by {by}, good version {situation}", *cells))
    return table(("ms, median / largest", "call or program done", *nodes), rows)


def _median_and_max(found: Json) -> str:
    return f"{found['median']:,.0f} / {found['max']:,.0f}"


def _repeats(outcome: Json) -> str:
    return f"{outcome['parameters']['repeats']}"


def _shadow(outcome: Json) -> str:
    rows = [
        (
            f"{door}, {load}: {mode}",
            f"{figures['rate']:,.0f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
            f"{figures['comparisons']:,.0f}",
        )
        for door, loads in outcome["medians"].items()
        for load, modes in loads.items()
        for mode, figures in modes.items()
    ]
    return table(("", "requests/s", "p50 ms", "p99 ms", "comparisons"), rows)


PARTS: Final[Mapping[tuple[str, str], Callable[[Json], str]]] = {
    ("experiment_routing", "table"): _routing,
    ("experiment_rollback", "table"): _rollback,
    ("experiment_rollback", "repeats"): _repeats,
    ("experiment_shadow", "table"): _shadow,
}
