"""The report's tables of the gRPC benchmarks, each made of one benchmark's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks import grpc
from benchmarks.measurement import Json
from benchmarks.rpc import core_loop, latency, overload, peers
from benchmarks.rpc.http2 import OK
from benchmarks.rpc.rounds import CLIENT, CPU
from benchmarks.tables import table

_SUBJECTS: Final = (grpc.NODE, grpc.NODE_INFER, grpc.ECHO, peers.MLSERVER, peers.PYTRITON)
_RATIOS: Final = (
    (grpc.NODE, grpc.ECHO),
    (grpc.NODE, peers.MLSERVER),
    (grpc.NODE, peers.PYTRITON),
    (grpc.NODE_INFER, grpc.ECHO),
    (grpc.NODE_INFER, peers.MLSERVER),
    (grpc.NODE_INFER, peers.PYTRITON),
)
_SERVERS: Final = ("node", "server", "echo")
_PUBLISHED: Final = 100_000
_STATUSES: Final = {"1": "CANCELLED", "4": "DEADLINE_EXCEEDED", "8": "RESOURCE_EXHAUSTED"}


def ratio(figures: Json, of: str, to: str) -> float | None:
    """Return how many times as many calls one subject answers in a shape; None if not measured."""
    if of not in figures or to not in figures:
        return None
    rates: list[float] = [figures[name]["calls_per_second"] for name in (of, to)]
    return rates[0] / rates[1]


def _rates(outcome: Json) -> str:
    shapes = outcome["medians"]["shapes"]
    found = [name for name in _SUBJECTS if any(name in figures for figures in shapes.values())]
    rows = [(name, *(_rate(figures.get(name)) for figures in shapes.values())) for name in found]
    return table(("calls per second", *shapes), rows)


def _rate(figures: Json | None) -> str:
    return "" if figures is None else f"{figures['calls_per_second']:,.0f}"


def _ratios(outcome: Json) -> str:
    shapes = outcome["medians"]["shapes"]
    rows: list[tuple[str, ...]] = []
    for of, to in _RATIOS:
        ratios = [ratio(figures, of, to) for figures in shapes.values()]
        if any(ratios):
            cells = ("" if found is None else f"{found:.2f}" for found in ratios)
            rows.append((f"{of} to {to}", *cells))
    return table(("", *shapes), rows)


def _absent(outcome: Json) -> str:
    parameters = outcome["parameters"]
    absent: Mapping[str, str] = parameters.get("not_measured", {})
    versions: Mapping[str, str] = parameters.get("peers", {})
    measured = [f"{name} {version}" for name, version in versions.items() if name not in absent]
    words = [f"Peers: {', '.join(measured) or 'none were measured'}."]
    words += [f"Not measured: {name} ({why})." for name, why in absent.items()]
    return " ".join(words)


def _cpu(outcome: Json) -> str:
    rows = [
        (
            f"{shape}: {subject}",
            *(_seconds(figures, *parts) for parts in (_SERVERS, ("worker",), (CLIENT,))),
        )
        for shape, subjects in outcome["medians"]["shapes"].items()
        for subject, figures in subjects.items()
    ]
    return table(("CPU seconds per 1,000 calls", "server", "worker", "client"), rows)


def _seconds(figures: Mapping[str, float], *parts: str) -> str:
    found = [figures[f"{part}_{CPU}"] for part in parts if f"{part}_{CPU}" in figures]
    return f"{found[0]:.3f}" if found else ""


def _large(outcome: Json) -> str:
    rows: list[tuple[str, ...]] = []
    for shape, figures in outcome["medians"]["shapes"].items():
        found = ratio(figures, grpc.NODE, grpc.ECHO) or 0.0
        rates = (_rate(figures[name]) for name in (grpc.NODE, grpc.ECHO))
        rows.append((shape, *rates, f"{found:.2f}"))
    head = ("connections × streams", "Headrace calls/s", "echo calls/s", "ratio")
    return table(head, rows)


def _latency(outcome: Json) -> str:
    rows: list[tuple[str, ...]] = []
    for count, loads in outcome["medians"]["models"].items():
        for load, figures in loads.items():
            if load == latency.PEAK:
                continue
            rows.append(
                (
                    f"{count}: {load}",
                    f"{figures['rate']:,.0f}",
                    *(f"{figures[name]:.2f}" for name in ("p50_ms", "p99_ms", "p99_9_ms")),
                    f"{figures['failed']:,}",
                    f"{figures['client_cpu_percent']:.0f} %",
                )
            )
    head = ("models: rate", "calls/s", "p50 ms", "p99 ms", "p99.9 ms", "failed", "client's CPU")
    return table(head, rows)


def _peaks(outcome: Json) -> str:
    peaks = ", ".join(
        f"{loads[latency.PEAK]['answered_per_second']:,.0f} with {count}"
        for count, loads in outcome["medians"]["models"].items()
    )
    return f"Peaks, in calls a second by number of models: {peaks}."


def _overload(outcome: Json) -> str:
    rows: list[tuple[str, ...]] = []
    for model, by_connections in outcome["medians"].items():
        for connections, by_factor in by_connections.items():
            peak = by_factor["0"]["answered_per_second"]
            for factor in map(str, overload.FACTORS):
                figures = by_factor[factor]
                rows.append(
                    (
                        f"{model} model, {connections} connections, {factor} × {peak:,.0f}",
                        f"{figures['percent_of_peak']:.0f} %",
                        f"{figures.get('p50_ms', 0):,.0f}",
                        _refusals(figures),
                        f"{figures.get('refused_p50_ms', 0):,.1f}",
                        f"{figures['client_cpu_percent']:.0f} %",
                    )
                )
    head = (
        *("offered calls/s", "answered in time, of the peak", "p50 ms"),
        *("otherwise", "refused after, ms", "client's CPU"),
    )
    return table(head, rows)


def _refusals(figures: Json) -> str:
    shares = {name: share for name, share in figures["statuses"].items() if name != OK}
    return ", ".join(f"{_STATUSES.get(name, name)} {share:g} %" for name, share in shares.items())


def _core(outcome: Json) -> str:
    rows = [
        (
            part,
            f"{figures['calls_per_second']:,.0f}",
            f"{figures['calls_per_cpu_second']:,.0f}",
            f"{figures['microseconds_per_call']:.2f}",
        )
        for part, figures in outcome["medians"]["parts"].items()
    ]
    rows.append(("TensorFlow Serving, as announced", f"about {_PUBLISHED:,}", "", ""))
    head = ("", "calls per second", "calls per CPU-second", "µs of CPU per call")
    return table(head, rows)


def _core_profile(outcome: Json) -> str:
    seen = outcome["medians"].get("profile_percent")
    if seen is None:
        return "It was not profiled: `py-spy` was not there."
    shares = ", ".join(f"{owner} {share} %" for owner, share in seen.items())
    return f"Where {core_loop.WHOLE}'s time goes (by py-spy): {shares}."


def _shared(outcome: Json) -> str:
    shapes = outcome["medians"]["shapes"]
    names = dict.fromkeys(name for figures in shapes.values() for name in figures)
    rows = [(name, *(_rate(figures.get(name)) for figures in shapes.values())) for name in names]
    return table(("calls per second", *shapes), rows)


PARTS: Final[Mapping[tuple[str, str], Callable[[Json], str]]] = {
    ("grpc_throughput", "table"): _rates,
    ("grpc_throughput", "ratios"): _ratios,
    ("grpc_throughput", "peers"): _absent,
    ("grpc_throughput", "cpu"): _cpu,
    ("grpc_large", "table"): _large,
    ("grpc_large", "cpu"): _cpu,
    ("grpc_latency", "table"): _latency,
    ("grpc_latency", "peaks"): _peaks,
    ("grpc_overload", "table"): _overload,
    ("grpc_shared_port", "table"): _shared,
    ("grpc_shared_port", "cpu"): _cpu,
    ("core_throughput", "table"): _core,
    ("core_throughput", "profile"): _core_profile,
}
