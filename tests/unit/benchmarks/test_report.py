"""The report of the benchmarks: words of the template around figures of the result files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import promises, report, results
from benchmarks.measurement import BenchmarkError, Measured, spread

ROOT = Path(__file__).parents[3]
TEMPLATE = (ROOT / "benchmarks" / "report_template.md").read_text("utf-8")
MACHINE: dict[str, Any] = {
    "cores": 2,
    "cpu": "a processor",
    "memory_gib": 23.5,
    "python": "3.11.7",
    "packages": {"tensorflow": "2.21.0", "grpcio": "1.85.1", "aiokafka": "0.14.0"},
    "date": "2026-01-02T03:04:05+00:00",
    "load_average_before": 0.2,
}


def outcome(name: str, *, is_quick: bool = False, **parts: dict[str, Any]) -> dict[str, Any]:
    """Return a result with these parameters, medians and runs."""
    measured = Measured(
        parameters=parts.get("parameters", {}), runs=[{}], medians=parts.get("medians", {})
    )
    return results.result(name, MACHINE, measured, is_quick=is_quick)


def replay(rate: int, *, is_quick: bool = False) -> dict[str, Any]:
    """Return a result of the replay at so many events a second."""
    medians = {
        "events_per_second": rate,
        "bytes_per_known_version": 1210,
        "longest_loop_turn_ms": 12.5,
    }
    parameters = {"events": 100_000, "models": 1_000}
    made = outcome("control_replay", is_quick=is_quick, parameters=parameters, medians=medians)
    return made | {"runs": [{"events_per_second": rate}]}


def swaps(failed: int) -> dict[str, Any]:
    """Return a result of the swaps in which so many requests failed."""
    latencies = {"requests": 10, "p50_ms": 2.5, "p99_ms": 9.5, "max_ms": 12.0}
    figures = {
        "requests": 1_000,
        "failed": failed,
        "first_answer_of_a_version_ms": spread([7.0]),
        "inside": latencies,
        "outside": {"requests": 0},
    }
    return outcome(
        "swaps_under_load",
        parameters={"swaps": 50, "model": "digits", "requests_per_second": {"gRPC": 200.0}},
        medians={
            "window_ms": spread([150.0]),
            "acknowledged_to_available_ms": spread([120.0]),
            "doors": {"gRPC": figures},
        },
    )


def test_the_document_is_what_the_results_say() -> None:
    """`docs/performance.md` is rendered, never edited; `python -m benchmarks report` renews it."""
    document = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert document == report.render(TEMPLATE, results.read(results.FOLDER))


def test_no_quick_run_is_published() -> None:
    """The results of the repository are full runs."""
    assert [name for name, found in results.read(results.FOLDER).items() if found["is_quick"]] == []


def test_what_is_not_measured_is_said_to_be_missing() -> None:
    """Without any result the page still renders, and claims nothing."""
    page = report.render(TEMPLATE, {})
    assert "{{" not in page
    assert page.count("not measured yet") == 18
    assert "*Not measured yet.*" in page


def test_every_part_has_its_place_in_the_template() -> None:
    """A table that nothing shows would be forgotten figures."""
    assert [part for part in report.PARTS if f"{{{{{part[0]}.{part[1]}}}}}" not in TEMPLATE] == []


def test_figures_stand_in_their_table() -> None:
    """Figures come out as they went in, with the machine and the day."""
    page = report.render(
        "{{control_replay.when}}\n{{control_replay.table}}", {"control_replay": replay(34_590)}
    )
    assert "| events per second, median | 34,590 |" in page
    assert "2026-01-02 · 2 cores (a processor), 23.5 GiB" in page
    assert "quick" not in page


def test_a_quick_run_is_marked() -> None:
    """Nobody quotes a figure of a quick run by mistake."""
    found = {"control_replay": replay(34_590, is_quick=True)}
    assert "a quick run" in report.render("{{control_replay.when}}", found)


@pytest.mark.parametrize(("rate", "verdict"), [(30_000, "yes"), (29_999, "**no**")])
def test_a_promise_is_judged_by_its_threshold(rate: int, verdict: str) -> None:
    """What falls short says so in the first table."""
    page = promises.render({"control_replay": replay(rate)})
    assert f"| {rate:,} events/s | {verdict} |" in page


@pytest.mark.parametrize(("failed", "verdict"), [(0, "yes"), (1, "**no**")])
def test_one_failed_request_breaks_the_promise_of_swaps(failed: int, verdict: str) -> None:
    """No request fails means none at all."""
    page = promises.render({"swaps_under_load": swaps(failed)})
    assert f"| {failed} of 1,000 requests | {verdict} |" in page


def test_latencies_without_requests_are_shown_as_none() -> None:
    """A run so short that no request was outside still has its row."""
    page = report.render("{{swaps_under_load.table}}", {"swaps_under_load": swaps(0)})
    assert "| gRPC, outside | 0 | 0 | 0 | 0 |" in page


def test_an_unknown_mark_is_an_error() -> None:
    """A misspelt mark in the template never reaches the page."""
    with pytest.raises(BenchmarkError, match=r"control_replay\.tabel"):
        report.render("{{control_replay.tabel}}", {"control_replay": replay(1)})


def test_quick_results_are_refused_for_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published page is made of full runs only; other folders get a page of their own."""
    results.write(tmp_path, replay(1, is_quick=True))
    assert report.write(tmp_path) == tmp_path / "performance.md"
    monkeypatch.setattr(results, "FOLDER", tmp_path.resolve())
    with pytest.raises(BenchmarkError, match="control_replay: a quick run"):
        report.write(tmp_path)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """The layout of the file, one line for each run, is only layout."""
    made = replay(5)
    results.write(tmp_path, made)
    assert results.read(tmp_path) == {"control_replay": made}


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    """A stray file is an error with its name, not a traceback."""
    (tmp_path / "stray.json").write_text("[]", "utf-8")
    with pytest.raises(BenchmarkError, match=r"stray\.json is no result"):
        results.read(tmp_path)
