"""The suite of `make chaos`, shorter: other faults each time, and the seed is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import Fault, draws
from tests.chaos.run import Plan, chosen_seed, run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


async def test_every_guarantee_holds_under_random_faults(tmp_path: Path) -> None:
    """Half a minute of whatever comes: nothing lost, doubled, out of order or wrong."""
    plan = Plan(requests=10_000, faults=8, rate=500, nodes=2, seed=chosen_seed(), folder=tmp_path)
    try:
        outcome = await run(plan)
    except BaseException as error:
        error.add_note(f"HEADRACE_CHAOS_SEED={plan.seed}, see {tmp_path}")
        raise
    assert outcome.is_good, outcome.report()


def test_a_seed_gives_the_same_faults_again() -> None:
    """All kinds come before one comes twice."""
    first, again = draws(7), draws(7)
    drawn = [next(first) for _ in range(3 * len(Fault))]
    assert drawn == [next(again) for _ in drawn]
    assert {draw.fault for draw in drawn[: len(Fault)]} == set(Fault)
    assert drawn != [next(other) for other in [draws(8)] for _ in drawn]
