"""The report's tables of the Kafka benchmarks, each made of one benchmark's result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from benchmarks.kafka import growth, latency, throughput
from benchmarks.kafka.deployments import AT_LEAST_ONCE, EXACTLY_ONCE
from benchmarks.measurement import Json
from benchmarks.tables import table

_WORDS: Final = {
    AT_LEAST_ONCE: "Headrace, at least once",
    EXACTLY_ONCE: "Headrace, exactly once",
    throughput.PASS_THROUGH: "pass-through",
    throughput.PASS_THROUGH_PLUS: "pass-through that adds provenance headers",
    throughput.MLSERVER: "MLServer",
}
_SHOWN: Final = (
    ("3 floats", throughput.SMALL, throughput.BACKLOG),
    ("3 floats, live", throughput.SMALL, throughput.LIVE),
    ("784 floats", throughput.LARGE, throughput.BACKLOG),
)
_CPU: Final = "cpu_seconds_per_million"


def _rates(outcome: Json) -> str:
    rates = outcome["medians"]["rates"]
    columns = [rates.get(asked, {}).get(load, {}) for _, asked, load in _SHOWN]
    rows = [
        (_WORDS[subject], *(_rate(column.get(subject)) for column in columns))
        for subject in _subjects(columns)
    ]
    return table(("records per second", *(words for words, *_ in _SHOWN)), rows)


def _rate(figures: Json | None) -> str:
    return "" if figures is None else f"{figures['records_per_second']:,.0f}"


def _subjects(columns: Iterable[Mapping[str, Json]]) -> list[str]:
    found = {subject for column in columns for subject in column}
    return [subject for subject in _WORDS if subject in found]


def _ratios(outcome: Json) -> str:
    ratios = outcome["medians"]["ratios"]
    return table(("", "ratio"), [(words, f"{ratio:g}") for words, ratio in ratios.items()])


def _cpu(outcome: Json) -> str:
    backlog = outcome["medians"]["rates"][throughput.SMALL][throughput.BACKLOG]
    rows = [
        (
            _WORDS[subject],
            *(_seconds(backlog[subject], part) for part in ("node", "workers")),
            _seconds(backlog[subject], "pass-through", "MLServer"),
            _seconds(backlog[subject], "broker"),
            _seconds(backlog[subject], "watch"),
            f"{backlog[subject]['cpu_elsewhere_percent']:g} % of a core",
        )
        for subject in _subjects([backlog])
    ]
    head = ("CPU seconds per million records", "node", "worker", "peer", "broker", "watch")
    return table((*head, "others on the machine"), rows)


def _seconds(figures: Json, *parts: str) -> str:
    found = [figures[name] for part in parts if (name := f"{part}_{_CPU}") in figures]
    return f"{sum(found):.1f}" if found else ""


def _profile(outcome: Json) -> str:
    found = outcome["medians"].get("profiles_percent")
    if not found:
        return "Nothing was profiled: `py-spy` was not there."
    tables: list[str] = []
    for delivery, parts in found.items():
        owners = dict.fromkeys(owner for shares in parts.values() for owner in shares)
        rows = [
            (owner, *(f"{shares[owner]} %" if owner in shares else "" for shares in parts.values()))
            for owner in owners
        ]
        tables.append(table((f"{_WORDS[delivery]}: share of busy time", *parts), rows))
    return "\n\n".join(tables)


def _mlserver(outcome: Json) -> str:
    about = outcome["parameters"]["mlserver"]
    if reason := about.get("not_measured"):
        return f"MLServer {about['version']} was not measured: {reason}."
    lost = sum(run.get("lost", 0) for run in outcome["runs"])
    return (
        f"MLServer {about['version']} runs with a numpy model in its own process and Kafka on; "
        f"its requests are Open Inference JSON. It lost {lost:,} requests."
    )


def _latencies(outcome: Json) -> str:
    rows = [
        (
            f"{_WORDS[subject]}: {load}",
            _rate_of(figures),
            *(f"{figures[name]:g}" for name in ("p50_ms", "p99_ms", "max_ms")),
            *(
                f"{figures[name]:g}{unit}" if name in figures else ""
                for name, unit in (
                    ("writer_late_ms_p99", ""),
                    ("cpu_elsewhere_percent", " %"),
                )
            ),
        )
        for subject, loads in outcome["medians"].items()
        for load, figures in loads.items()
    ]
    head = ("", "requests/s", "p50 ms", "p99 ms", "largest ms", "writer late, p99 ms")
    return table((*head, "others, of a core"), rows)


def _rate_of(figures: Json) -> str:
    return f"{figures['rate']:,.0f}" if "rate" in figures else ""


def _peaks(outcome: Json) -> str:
    peaks = outcome["parameters"]["peak_records_per_second"]
    words = " and ".join(f"{rate:,} records/s ({_WORDS[name]})" for name, rate in peaks.items())
    share = max(latency.SHARES)
    return f"The peaks of this run, of which at most {share:.0%} was asked: {words}."


def _grown(name: str, head: str, figures: Sequence[tuple[str, str]]) -> Callable[[Json], str]:
    """Return a part that shows some figures of one growth, by column title."""

    def part(outcome: Json) -> str:
        rows = [
            (
                f"{found['value_bytes']:,.0f}" if name == growth.VALUES else size,
                *(
                    f"{found[figure]:,.{0 if found[figure] >= 100 else 1}f}"
                    for _, figure in figures
                ),
            )
            for size, found in outcome["medians"][name].items()
        ]
        return table((head, *(words for words, _ in figures)), rows)

    return part


_COSTS: Final = (
    ("records/s", "records_per_second"),
    ("nodes, CPU s per million", f"node_{_CPU}"),
    ("workers", f"workers_{_CPU}"),
    ("broker", f"broker_{_CPU}"),
    ("nodes, peak MB", "node_peak_mb"),
    ("workers, MB", "workers_anonymous_mb"),
)
_SIZES: Final = (
    ("records/s", "records_per_second"),
    ("MB/s", "megabytes_per_second"),
    ("node, peak MB", "node_peak_mb"),
    ("worker, MB", "workers_anonymous_mb"),
    ("node, CPU s per million", f"node_{_CPU}"),
    ("worker", f"workers_{_CPU}"),
    ("broker", f"broker_{_CPU}"),
)

PARTS: Final[Mapping[tuple[str, str], Callable[[Json], str]]] = {
    ("kafka_throughput", "rates"): _rates,
    ("kafka_throughput", "ratios"): _ratios,
    ("kafka_throughput", "cpu"): _cpu,
    ("kafka_throughput", "profile"): _profile,
    ("kafka_throughput", "mlserver"): _mlserver,
    ("kafka_latency", "table"): _latencies,
    ("kafka_latency", "peaks"): _peaks,
    ("kafka_growth", "delivery"): lambda outcome: _WORDS[outcome["parameters"]["delivery"]],
    ("kafka_growth", "nodes"): _grown(growth.NODES, "nodes", _COSTS),
    ("kafka_growth", "models"): _grown(growth.MODELS, "models", _COSTS),
    ("kafka_growth", "values"): _grown(growth.VALUES, "value bytes", _SIZES),
}
