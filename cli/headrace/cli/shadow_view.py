"""A report of comparisons as tables, or as what JSON shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from rich.table import Table
from rich.text import Text

from headrace.cli.moments import iso
from headrace.publisher.shadow_report import (
    ErrorTally,
    Latencies,
    PairTally,
    ShadowReport,
    VersionPair,
)
from headrace.schemas.comparison import Agreement

_Object: TypeAlias = "dict[str, int | float | str | _Object | list[_Object] | None]"


def render(report: ShadowReport) -> Iterator[Table | str]:
    """Yield what a terminal shows, top down."""
    total = report.total
    yield (
        f"{report.model}: {total.compared} compared, {_percent(total.agreement)} agree; "
        f"{total.agreements[Agreement.FAILED]} failed, {report.missed} missed"
        f"{_unreadable(report)}"
    )
    if report.first_ms is not None and report.last_ms is not None:
        yield f"from {iso(report.first_ms)} to {iso(report.last_ms)}"
    yield _pairs(report)
    outputs = _outputs(report)
    if outputs.row_count:
        yield outputs
    errors = _errors(report)
    if errors.row_count:
        yield errors


def as_object(report: ShadowReport) -> _Object:
    """Return a report as JSON shows it."""
    total = report.total
    return {
        "model": report.model,
        "from": None if report.first_ms is None else iso(report.first_ms),
        "to": None if report.last_ms is None else iso(report.last_ms),
        "compared": total.compared,
        "agreement": total.agreement,
        "failed": total.agreements[Agreement.FAILED],
        "missed": report.missed,
        "unreadable": report.unreadable,
        "versions": [_pair_object(pair, tally) for pair, tally in sorted(report.pairs.items())],
    }


def _pair_object(pair: VersionPair, tally: PairTally) -> _Object:
    return {
        "primary": {"model": pair.primary_model, "version": pair.primary_version},
        "shadow": {"model": pair.shadow_model, "version": pair.shadow_version},
        "compared": tally.compared,
        "agreement": tally.agreement,
        "failed": tally.agreements[Agreement.FAILED],
        "outputs": [
            {
                "output": name,
                "differs": each.comparisons,
                # JSON has no infinity: null is a distance that no number tells.
                "max_absolute": each.max_absolute if math.isfinite(each.max_absolute) else None,
                "reason": each.reason or None,
            }
            for name, each in sorted(tally.outputs.items())
        ],
        "latency_micros": {
            "primary": _quantiles(tally.primary_latencies),
            "shadow": _quantiles(tally.shadow_latencies),
        },
        "errors": {
            "primary": _errors_object(tally.primary_errors),
            "shadow": _errors_object(tally.shadow_errors),
        },
    }


def _quantiles(latencies: Latencies) -> _Object:
    return {"p50": latencies.quantile(0.5), "p99": latencies.quantile(0.99)}


def _errors_object(errors: Mapping[str, ErrorTally]) -> list[_Object]:
    return [
        {"code": code, "count": each.count, "example": each.example}
        for code, each in sorted(errors.items())
    ]


def _pairs(report: ShadowReport) -> Table:
    latencies = ("p50", "p99", "shadow p50", "shadow p99")
    table = _table("answered", "shadow", "compared", "agree", "failed", *latencies)
    for pair, tally in sorted(report.pairs.items()):
        table.add_row(
            Text(_named(pair.primary_model, pair.primary_version)),
            Text(_named(pair.shadow_model, pair.shadow_version)),
            str(tally.compared),
            _percent(tally.agreement),
            str(tally.agreements[Agreement.FAILED]),
            *(
                _millis(each.quantile(share))
                for each in (tally.primary_latencies, tally.shadow_latencies)
                for share in (0.5, 0.99)
            ),
        )
    return table


def _outputs(report: ShadowReport) -> Table:
    table = _table("shadow", "output", "differs", "at most by", "")
    for pair, tally in sorted(report.pairs.items()):
        for name, each in sorted(tally.outputs.items()):
            table.add_row(
                Text(_named(pair.shadow_model, pair.shadow_version)),
                Text(name or "(all)"),
                str(each.comparisons),
                f"{each.max_absolute:.6g}" if each.max_absolute else "",
                Text(each.reason),
            )
    return table


def _errors(report: ShadowReport) -> Table:
    table = _table("whose", "error", "count", "for example")
    for pair, tally in sorted(report.pairs.items()):
        for model, version, errors in (
            (pair.primary_model, pair.primary_version, tally.primary_errors),
            (pair.shadow_model, pair.shadow_version, tally.shadow_errors),
        ):
            for code, each in sorted(errors.items()):
                whose = Text(_named(model, version))
                table.add_row(whose, code, str(each.count), Text(each.example))
    return table


def _table(*columns: str) -> Table:
    table = Table(*columns)
    table.box, table.pad_edge = None, False
    return table


def _named(model: str, version: int) -> str:
    return f"{model}/{version}" if version else f"{model} (none)"


def _percent(share: float | None) -> str:
    # Never rounded up to all: one answer that differs is news.
    return "-" if share is None else f"{math.floor(share * 10_000) / 100:.2f} %"


def _millis(micros: int | None) -> str:
    return "-" if micros is None else f"{micros / 1000:.3g} ms"


def _unreadable(report: ShadowReport) -> str:
    return f", {report.unreadable} unreadable" if report.unreadable else ""
