"""A report of comparisons as text and as JSON, and a shadow as one writes it."""

from __future__ import annotations

import json

import pytest
import typer
from rich.console import Console

from headrace.cli.shadow_options import parse_shadow, parse_tolerances, shadow_words
from headrace.cli.shadow_view import as_object, render
from headrace.publisher.shadow_report import ShadowReport
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison
from headrace.schemas.records import Shadow, Tolerance


@pytest.fixture
def report() -> ShadowReport:
    """1,999 answers that agree, one that differs infinitely, and one that was an error."""
    found = ShadowReport("m")
    for number in range(2001):
        is_last = number == 2000
        found.add(
            ShadowComparison(
                model="m",
                node="n",
                at_ms=number,
                primary=Answered(model="m", version=1, latency_micros=1500),
                shadow=Answered(model="m", version=2, latency_micros=2500)
                if not is_last
                else Answered(model="n", version=0, error_code="NOT_FOUND", error="nobody [b]"),
                agreement=Agreement.FAILED
                if is_last
                else Agreement.DIFFERS
                if number == 7
                else Agreement.AGREES,
                differences=(Difference(output="y", differing=1, max_absolute=float("inf")),)
                if number == 7
                else (),
                missed=3 if number == 9 else 0,
            )
        )
    return found


def test_text_tells_agreement_latency_outputs_and_errors(report: ShadowReport) -> None:
    """Agreement is never rounded up to all."""
    console = Console(width=200)
    with console.capture() as capture:
        for part in render(report):
            console.print(part)
    text = capture.get()
    assert "m: 2000 compared, 99.95 % agree; 1 failed, 3 missed" in text
    lines = [line.split() for line in text.splitlines()]
    assert [
        "m/1",
        "m/2",
        "2000",
        "99.95",
        "%",
        "0",
        *["1.5", "ms", "1.5", "ms", "2.5", "ms", "2.5", "ms"],
    ] in lines
    assert ["m/2", "y", "1", "inf"] in lines
    assert ["n", "(none)", "NOT_FOUND", "1", "nobody", "[b]"] in lines


def test_json_has_the_same_and_nothing_that_json_has_not(report: ShadowReport) -> None:
    """An infinite distance is null."""
    found = json.loads(json.dumps(as_object(report), allow_nan=False))
    assert (found["compared"], found["agreement"], found["failed"]) == (2000, 0.9995, 1)
    assert (found["missed"], found["from"]) == (3, "1970-01-01T00:00:00.000Z")
    first, second = found["versions"]
    assert first["outputs"] == [{"output": "y", "differs": 1, "max_absolute": None, "reason": None}]
    assert first["latency_micros"]["shadow"] == {"p50": 2500, "p99": 2500}
    assert second["shadow"] == {"model": "n", "version": 0}
    assert second["errors"]["shadow"] == [
        {"code": "NOT_FOUND", "count": 1, "example": "nobody [b]"}
    ]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (None, (None, None)),
        ("none", ("", None)),
        ("canary", ("canary", None)),
        ("other@3=12.5", ("other@3", 0.125)),
        ("4=100%", ("4", 1.0)),
        ("4=0", ("4", 0.0)),
    ],
)
def test_a_shadow_is_read(text: str | None, parsed: tuple[str | None, float | None]) -> None:
    """A target, and the share in per cent; whether it makes sense is judged elsewhere."""
    assert parse_shadow(text) == parsed


@pytest.mark.parametrize("text", ["", "=5", "a=", "a=-1", "a=1=2", "a b", "a=nan", "a=1e3"])
def test_what_is_no_shadow_is_refused(text: str) -> None:
    """As wrong usage."""
    with pytest.raises(typer.BadParameter):
        parse_shadow(text)


def test_tolerances_are_read() -> None:
    """Absolute, and relative, for an output or for all others."""
    assert parse_tolerances(None) is None
    assert parse_tolerances(["none"]) == {}
    assert parse_tolerances(["1e-3,0.01", "a=b=2"]) == {
        "": Tolerance(absolute=0.001, relative=0.01),
        "a=b": Tolerance(absolute=2.0),
    }


@pytest.mark.parametrize("texts", [["x"], ["1,2,3"], ["y=-1"], ["y=nan"], ["1", "2"], ["y=1"] * 2])
def test_what_is_no_tolerance_is_refused(texts: list[str]) -> None:
    """As wrong usage; also one output twice."""
    with pytest.raises(typer.BadParameter):
        parse_tolerances(texts)


def test_a_shadow_is_shown_as_it_is_written() -> None:
    """With its tolerances, or none."""
    tolerances = {"y": Tolerance(absolute=0.5), "": Tolerance(relative=0.01)}
    assert shadow_words(None) == "none"
    assert shadow_words(Shadow(target="n", fraction=0.07)) == "n=7"
    shown = shadow_words(Shadow(target="n", tolerances=tolerances))
    assert shown == "n=100 (tolerance 0,0.01 y=0.5,0)"
