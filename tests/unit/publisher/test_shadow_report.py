"""What a report makes of comparisons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.publisher.shadow_report import Latencies, ShadowReport, VersionPair
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison

AGREED = ShadowComparison(
    model="m",
    node="n",
    at_ms=1000,
    primary=Answered(model="m", version=1, latency_micros=1000),
    shadow=Answered(model="m", version=2, latency_micros=2000),
    agreement=Agreement.AGREES,
)
DIFFERED = replace(
    AGREED,
    at_ms=3000,
    agreement=Agreement.DIFFERS,
    differences=(Difference(output="y", elements=2, differing=1, max_absolute=0.5),),
    missed=7,
)


def test_agreement_is_of_what_was_compared() -> None:
    """Failures have no part in it, and are counted beside it, like what was missed."""
    report = ShadowReport("m")
    failed = replace(
        AGREED,
        at_ms=2000,
        shadow=Answered(model="m", version=2, error_code="INTERNAL", error="it broke"),
        agreement=Agreement.FAILED,
    )
    for record in (AGREED, DIFFERED, AGREED, AGREED, failed, replace(failed, missed=1)):
        report.add(record)
    total = report.total
    assert (total.compared, total.agreement, total.agreements[Agreement.FAILED]) == (4, 0.75, 2)
    assert (report.missed, report.first_ms, report.last_ms) == (8, 1000, 3000)
    ((pair, tally),) = report.pairs.items()
    assert pair == VersionPair("m", 1, "m", 2)
    assert tally.shadow_errors["INTERNAL"].count == 2
    assert tally.shadow_errors["INTERNAL"].example == "it broke"
    assert not tally.primary_errors
    assert tally.primary_latencies.quantile(0.5) == 1000
    assert tally.shadow_latencies.quantile(0.99) == 2000


def test_outputs_are_counted_by_name_with_the_largest_distance() -> None:
    """And a reason in words, where there is one."""
    report = ShadowReport("m")
    odd = Difference(output="z", reason="another shape")
    further = Difference(output="y", elements=2, differing=2, max_absolute=1.5)
    for record in (DIFFERED, replace(DIFFERED, differences=(further, odd)), DIFFERED):
        report.add(record)
    (tally,) = report.pairs.values()
    assert (tally.outputs["y"].comparisons, tally.outputs["y"].max_absolute) == (3, 1.5)
    assert (tally.outputs["z"].comparisons, tally.outputs["z"].reason) == (1, "another shape")


def test_each_pair_of_versions_is_told_apart() -> None:
    """What another version answered says nothing of this one."""
    report = ShadowReport("m")
    report.add(AGREED)
    report.add(replace(DIFFERED, shadow=Answered(model="other", version=2)))
    report.add(replace(DIFFERED, primary=Answered(model="m", version=9)))
    assert [tally.compared for tally in report.pairs.values()] == [1, 1, 1]
    assert report.total.agreement == pytest.approx(1 / 3)


def test_nothing_compared_is_no_agreement() -> None:
    """Neither all nor nothing."""
    report = ShadowReport("m")
    report.add(replace(AGREED, agreement=Agreement.FAILED))
    assert report.total.agreement is None
    assert Latencies().quantile(0.5) is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 500), (0.99, 990), (1.0, 1000)])
def test_quantiles_are_of_all_that_was_added(share: float, expected: int) -> None:
    """Exact below a thousand microseconds, three digits above."""
    latencies = Latencies()
    for micros in range(1, 1001):
        latencies.add(micros)
    assert latencies.quantile(share) == expected
    longer = Latencies()
    longer.add(1_234_567)
    assert longer.quantile(0.5) == 1_230_000
