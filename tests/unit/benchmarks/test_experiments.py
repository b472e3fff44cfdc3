"""The parts of the experiments' benchmarks that need no process: routes, figures, verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import promises
from benchmarks.experiments import rollback, routing, routing_loop, shadow
from benchmarks.experiments.going_back import BAD, GOOD, LIBRARY, PROGRAM, ROLLBACK
from benchmarks.experiments.rollback import Span, last_bad_answer_ms
from benchmarks.experiments.tables import PARTS


@pytest.mark.parametrize("count", routing_loop.ARMS)
async def test_every_arm_is_met(count: int) -> None:
    """A split of so many arms leads to so many versions, of one model or of as many."""
    serving_map = routing_loop.made()
    for of in ("labels", "models"):
        route, keys = routing_loop.parts()[routing_loop.of_arms(count, of), routing_loop.KEYED]
        assert route is not None
        choices = {serving_map.acquire(route, key).choice for key in keys}
        assert len({choice.id for choice in choices}) == max(count, 1)
        assert {bool(choice.arm) for choice in choices} == {count > 0}


async def test_routing_is_told_beside_a_model_without_a_split() -> None:
    """With a key beside with a key, without one beside without one."""
    plain, split = routing_loop.of_arms(0), routing_loop.of_arms(2)
    costs = {
        (plain, routing_loop.KEYED): (100.0, 300.0, 200.0),
        (plain, routing_loop.UNKEYED): (100.0,),
        (split, routing_loop.KEYED): (500.0,),
        (split, routing_loop.UNKEYED): (150.0,),
    }
    runs = [
        {"part": part, "keys": keys, "ns": cost}
        for (part, keys), found in costs.items()
        for cost in found
    ]
    medians = routing.medians(runs)
    assert medians["parts"][split][routing_loop.KEYED] == {"ns": 500.0, "ratio": 2.5}
    assert medians["parts"][split][routing_loop.UNKEYED] == {"ns": 150.0, "ratio": 1.5}
    assert "| 2 arms | 500 | 150 | 2.50 | 1.50 |" in rendered("experiment_routing", medians)


@pytest.mark.parametrize(
    ("answered", "last_ms"),
    [
        ([], 0.0),
        ([(9.0, GOOD), (9.9, BAD)], 0.0),
        ([(9.9, BAD), (10.5, BAD), (10.25, BAD), (10.9, GOOD)], 500.0),
        ([(10.5, BAD), (12.5, BAD)], 500.0),
    ],
)
def test_the_last_bad_answer_of_a_span_counts(
    answered: list[tuple[float, int]], last_ms: float
) -> None:
    """Not those before it or after it; the clock runs from its beginning to the answer's end."""
    samples = [(at - 0.1, 100.0, version, "") for at, version in answered]
    assert last_bad_answer_ms(samples, Span(10.0, 10.1, 12.0)) == last_ms


def gone_back(worst_ms: float) -> dict[str, Any]:
    """Return figures of two ways to go back, on two nodes."""
    return rollback.medians(
        [
            {
                "done": ROLLBACK,
                "by": by,
                "good_version": rollback.NOT_LOADED,
                "node": node,
                "done_after_ms": 20.0,
                "last_bad_answer_ms": last_ms,
            }
            for by in (LIBRARY, PROGRAM)
            for node, figures in (("a", (10.0, 30.0, 20.0)), ("b", (40.0, worst_ms, worst_ms)))
            for last_ms in figures
        ]
    )


def test_each_node_has_its_median_and_its_largest() -> None:
    """By what was done, what did it, and from where."""
    page = rendered("experiment_rollback", gone_back(700.0))
    assert "| ms, median / largest | call or program done | a | b |" in page
    assert "good version not loaded | 20 / 20 | 20 / 30 | 700 / 700 |" in page


@pytest.mark.parametrize(("worst_ms", "verdict"), [(1000.0, "yes"), (1001.0, "**no**")])
def test_the_slowest_node_decides_how_fast_a_rollback_is(worst_ms: float, verdict: str) -> None:
    """By the library, since the start of a program is not the product's."""
    page = promises.render({"experiment_rollback": {"medians": gone_back(worst_ms)}})
    assert f"| {worst_ms:,.0f} ms on the slowest node | {verdict} |" in page


def test_shadowed_answers_stand_beside_others() -> None:
    """By door, rate and mode, each as a median."""
    runs = [
        {
            "door": shadow.GRPC,
            "load": shadow.at_share(0.5),
            "mode": mode,
            "rate": 100,
            "p50_ms": p50_ms,
            "p99_ms": 2 * p50_ms,
            "comparisons": comparisons,
        }
        for mode, comparisons in ((shadow.NONE, 0), (shadow.ALL, 1200))
        for p50_ms in (1.0, 5.0, 3.0)
    ]
    page = rendered("experiment_shadow", shadow.medians(runs))
    assert "| gRPC, 50% of the peak: no shadow | 100 | 3.00 | 6.00 | 0 |" in page
    assert "| gRPC, 50% of the peak: all requests shadowed | 100 | 3.00 | 6.00 | 1,200 |" in page


def rendered(benchmark: str, medians: dict[str, Any]) -> str:
    """Return a benchmark's table."""
    return PARTS[benchmark, "table"]({"medians": medians})
