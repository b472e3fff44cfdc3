"""What Headrace promises in figures, and whether the results hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benchmarks import grpc
from benchmarks.experiments import going_back, rollback
from benchmarks.kafka import throughput
from benchmarks.kafka.deployments import AT_LEAST_ONCE, EXACTLY_ONCE
from benchmarks.measurement import Json
from benchmarks.rpc import core_loop, overload, peers
from benchmarks.rpc.tables import ratio
from benchmarks.tables import EVENT, table

_NODE_MEMORY: Final = "Headrace node"

Verdict = tuple[str, bool] | None
"""What was measured and whether that holds the promise; None when it was not measured."""
Judge = Callable[[Json], Verdict]


def render(found: Mapping[str, Json]) -> str:
    """Return each promise with what was measured and whether that holds it."""
    rows: list[tuple[str, str, str]] = []
    for benchmark, promise, judge in _PROMISES:
        verdict = judge(found[benchmark]["medians"]) if benchmark in found else None
        if verdict is None:
            rows.append((promise, "not measured yet", ""))
        else:
            measured, holds = verdict
            rows.append((promise, measured, "yes" if holds else "**no**"))
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


def _judge_rate(delivery: str, least: int) -> Judge:
    def judge(medians: Json) -> Verdict:
        backlog = medians["rates"][throughput.SMALL][throughput.BACKLOG]
        if delivery not in backlog:
            return None
        rate = backlog[delivery]["records_per_second"]
        return f"{rate:,.0f} records/s", rate >= least

    return judge


def _judge_ratio(of: str, to: str, least: float) -> Judge:
    def judge(medians: Json) -> Verdict:
        ratio = medians["ratios"].get(throughput.ratio_name(of, to, throughput.SMALL))
        return None if ratio is None else (f"{ratio:g}", ratio >= least)

    return judge


def _judge_calls(of: str, to: str, least: float) -> Judge:
    """Judge every shape but that of a single caller, who waits for two processes in turn."""

    def judge(medians: Json) -> Verdict:
        ratios = {
            shape: found
            for shape, figures in medians["shapes"].items()
            if (found := ratio(figures, of, to)) is not None
        }
        if not ratios:
            return None
        words = ", ".join(f"{found:.2f} at {shape}" for shape, found in ratios.items())
        of_many = [found for shape, found in ratios.items() if shape != str(grpc.SINGLE)]
        return words, min(of_many, default=0.0) >= least

    return judge


def _judge_core(medians: Json) -> tuple[str, bool]:
    rate = medians["parts"][core_loop.WHOLE]["calls_per_second"]
    return f"{rate:,.0f} calls/s", rate >= 300_000


def _judge_overload(medians: Json) -> tuple[str, bool]:
    shares = {
        f"{model}, {connections} connections": found[str(max(overload.FACTORS))]["percent_of_peak"]
        for model, by_connections in medians.items()
        for connections, found in by_connections.items()
    }
    words = "; ".join(f"{share:.0f} % ({where})" for where, share in shares.items())
    return words, min(shares.values()) >= 90


def _judge_rollback(medians: Json) -> tuple[str, bool]:
    nodes = medians[going_back.ROLLBACK][going_back.LIBRARY][rollback.NOT_LOADED]
    worst = max(found["median"] for name, found in nodes.items() if name != rollback.DONE)
    return f"{worst:,.0f} ms on the slowest node", worst <= 1000


_PROMISES: Final[tuple[tuple[str, str, Judge], ...]] = (
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
    ("swaps_under_load", "no request fails while versions swap, by any door", _judge_swaps),
    *(
        ("grpc_throughput", promise, _judge_calls(of, to, least))
        for of, to, least, promise in (
            (
                grpc.NODE,
                grpc.ECHO,
                0.75,
                "many callers get at least 0.75 times as many gRPC answers as from an empty echo",
            ),
            (grpc.NODE, peers.MLSERVER, 1.75, "and at least 1.75 times as many as from MLServer"),
            (grpc.NODE, peers.PYTRITON, 1.75, "and at least 1.75 times as many as from PyTriton"),
            (grpc.NODE_INFER, grpc.ECHO, 0.75, "the same over Open Inference: echo"),
            (grpc.NODE_INFER, peers.MLSERVER, 1.75, "the same over Open Inference: MLServer"),
            (grpc.NODE_INFER, peers.PYTRITON, 1.75, "the same over Open Inference: PyTriton"),
        )
    ),
    (
        "grpc_overload",
        "at three times its peak a node still answers 90 % of the peak in time",
        _judge_overload,
    ),
    (
        "core_throughput",
        "the serving core alone takes at least 300,000 calls a second on one core",
        _judge_core,
    ),
    (
        "kafka_throughput",
        "a node answers at least 200,000 records a second over Kafka at least once",
        _judge_rate(AT_LEAST_ONCE, 200_000),
    ),
    (
        "kafka_throughput",
        "and at least 100,000 exactly once",
        _judge_rate(EXACTLY_ONCE, 100_000),
    ),
    (
        "kafka_throughput",
        "at least half as many as a bare aiokafka pass-through moves",
        _judge_ratio(AT_LEAST_ONCE, throughput.PASS_THROUGH, 0.5),
    ),
    (
        "kafka_throughput",
        "exactly once is at least 0.6 times as fast as at least once",
        _judge_ratio(EXACTLY_ONCE, AT_LEAST_ONCE, 0.6),
    ),
    (
        "kafka_throughput",
        "at least 100 times as many as MLServer's Kafka server",
        _judge_ratio(AT_LEAST_ONCE, throughput.MLSERVER, 100),
    ),
    (
        "experiment_rollback",
        "a bad version answers for a second after a rollback at most, the good one's load included",
        _judge_rollback,
    ),
)


def _each(figures: Sequence[float]) -> str:
    return " and ".join(f"{figure:g}" for figure in figures)
