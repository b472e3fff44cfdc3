"""What a replay did, and what its diff found, as text or as JSON."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table
from rich.text import Text

from headrace.cli.replay.comparing import Verdict
from headrace.cli.replay.diff import DiffReport, Shown
from headrace.consumer.replay import Replayed, ReplayOptions

_WORDS = {
    Verdict.SAME: "same",
    Verdict.WITHIN: "within tolerance",
    Verdict.DIFFERENT: "different",
    Verdict.ERROR_THEN: "error then, answer now",
    Verdict.ERROR_NOW: "answer then, error now",
    Verdict.NOT_FOUND: "answer given then not found",
}


def summary_line(replayed: Replayed, options: ReplayOptions) -> str:
    """Return what was done as one line."""
    tally, seconds = replayed.tally, replayed.seconds
    if not tally.total:
        if replayed.is_resumed:
            return f"job {options.job} has nothing left to answer"
        return f"the range holds no requests of topic {options.topic}: nothing to answer"
    skipped = [
        f"{count} {words}"
        for count, words in (
            (tally.others, "for other models"),
            (tally.unreadable, "unreadable"),
        )
        if count
    ]
    return (
        f"answered {tally.answered} requests by {options.model} version {options.version} "
        f"({tally.errors} errors) in {seconds:.1f} s, {_rate(replayed):.0f}/s"
        f"{'; skipped ' + ', '.join(skipped) if skipped else ''}; "
        f"answers are in {options.output_topic}"
    )


def _rate(replayed: Replayed) -> float:
    return replayed.tally.answered / replayed.seconds if replayed.seconds else 0.0


def report_lines(report: DiffReport) -> list[str]:
    """Return what the diff found, as lines."""
    lines = [f"{report.verdicts[verdict]:>10} {words}" for verdict, words in _WORDS.items()]
    if report.uncorrelated:
        lines.append(f"{report.uncorrelated:>10} without correlation id, which cannot be compared")
    if report.versions_then:
        then = [f"{name} ({count})" for name, count in report.versions_then.most_common()]
        lines.append(f"answered then by version {', '.join(then)}")
    lines += [f"topic {topic} does not exist any more" for topic in sorted(report.missing_topics)]
    return lines


def largest_table(report: DiffReport) -> Table:
    """Return the largest differences as a table."""
    table = Table("request", "correlation id", "then", "output", "absolute", "relative", "")
    table.box, table.pad_edge = None, False
    for shown in report.largest:
        worst = shown.comparison.differences[0]
        table.add_row(
            str(shown.place),
            Text(_shown_id(shown)),
            Text(shown.version_then),
            Text(worst.output),
            _number(worst.absolute),
            _number(worst.relative),
            Text(worst.words),
        )
    return table


def json_lines(
    replayed: Replayed, options: ReplayOptions, report: DiffReport | None
) -> list[dict[str, Any]]:
    """Return the largest differences, and a summary as the last line."""
    tally = replayed.tally
    summary: dict[str, Any] = {
        "kind": "summary",
        "job": options.job,
        "model": options.model,
        "version": options.version,
        "output_topic": options.output_topic,
        "answered": tally.answered,
        "errors": tally.errors,
        "other_models": tally.others,
        "unreadable": tally.unreadable,
        "offsets": tally.total,
        "duration_seconds": round(replayed.seconds, 3),
        "requests_per_second": round(_rate(replayed), 1),
        "is_resumed": replayed.is_resumed,
    }
    if report is None:
        return [summary]
    summary["diff"] = {
        **{verdict.value: report.verdicts[verdict] for verdict in Verdict},
        "without_correlation_id": report.uncorrelated,
        "versions_then": dict(report.versions_then),
        "missing_topics": sorted(report.missing_topics),
    }
    return [*(_difference_json(shown) for shown in report.largest), summary]


def _difference_json(shown: Shown) -> dict[str, Any]:
    return {
        "kind": "difference",
        "verdict": shown.comparison.verdict.value,
        "topic": shown.place.topic,
        "partition": shown.place.partition,
        "offset": shown.place.offset,
        "correlation_id": _shown_id(shown),
        "version_then": shown.version_then,
        "outputs": [
            {
                "output": each.output,
                # JSON has no infinity: null is a difference that no number tells.
                "absolute": each.absolute if math.isfinite(each.absolute) else None,
                "relative": each.relative if math.isfinite(each.relative) else None,
                "words": each.words,
            }
            for each in shown.comparison.differences
        ],
    }


def _shown_id(shown: Shown) -> str:
    return shown.correlation_id.decode(errors="backslashreplace")


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
