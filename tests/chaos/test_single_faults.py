"""Each fault alone, under load, with the invariant that it must not break.

Every test also demands what `Trial` demands: no request lost, none answered twice (with exactly
once), answers in order, each of them right and of a version that was wanted, and no node ended that
was not told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.chaos.checker import Verdict, check
from tests.chaos.evidence import Answer, Kind
from tests.chaos.faults import POISON, Draw, Fault, strike
from tests.chaos.stage import DEFAULT_DELIVERY, SESSION_SECONDS, Stage

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

REQUESTS = 2_000
RATE = 700.0
SOME = 200


@dataclass
class Trial:
    """What came out of one test's load; filled in when the load has been answered."""

    answers: list[Answer] = field(default_factory=list[Answer])
    verdict: Verdict = field(default_factory=lambda: Verdict(0, 0, 0))

    @property
    def nodes(self) -> set[str]:
        """The nodes that answered."""
        return {answer.node for answer in self.answers}


@asynccontextmanager
async def under_load(stage: Stage) -> AsyncGenerator[Trial, None]:
    """Write requests before, during and after the block; then wait for all answers and judge."""
    trial, first, is_over = Trial(), stage.load.numbers, False

    def is_enough() -> bool:
        return is_over and stage.load.numbers - first >= REQUESTS

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.load.write(rate=RATE, is_enough=is_enough))
        await stage.watch.wait_more(SOME)
        yield trial
        await stage.watch.wait_more(SOME)
        is_over = True
    await stage.wait_settled()
    evidence = (await stage.gather()).since(first)
    trial.answers = list(evidence.answers)
    trial.verdict = check(evidence)
    found = trial.verdict.words(DEFAULT_DELIVERY)
    assert not found, f"{found}\nsee {stage.log.folder}"
    assert not stage.fleet.failures


def drawn(fault: Fault, *, which: float = 0.0, how_long: float = 0.3) -> Draw:
    """Return a fault as chance could have drawn it."""
    return Draw(fault, 0, which, how_long)


async def test_no_answer_is_lost_or_doubled_when_a_worker_is_killed(stage: Stage) -> None:
    """Its requests are computed once more by the next one, and none gets an error."""
    async with under_load(stage) as trial:
        assert await strike(stage, drawn(Fault.WORKER_KILLED))
    assert {answer.code for answer in trial.answers} == {"OK"}


async def test_no_answer_is_lost_or_doubled_when_a_node_is_killed(stage: Stage) -> None:
    """Another node takes over its partitions, and it takes part again after its restart."""
    async with under_load(stage) as trial:
        assert await strike(stage, drawn(Fault.NODE_KILLED))
    assert trial.nodes == {"node-1", "node-2"}


async def test_no_answer_is_lost_or_doubled_when_the_broker_is_killed(stage: Stage) -> None:
    """What was under way when Kafka died is finished, or done again, when it is back."""
    async with under_load(stage):
        assert await strike(stage, drawn(Fault.BROKER_KILLED))


async def test_no_answer_is_lost_or_doubled_when_the_broker_hangs(stage: Stage) -> None:
    """Kafka does not answer for longer than a moment, and then all at once."""
    async with under_load(stage):
        assert await strike(stage, drawn(Fault.BROKER_FROZEN))


async def test_a_zombie_doubles_nothing_after_others_took_over(stage: Stage) -> None:
    """A node wakes up long after its session ended, with requests in hand that are answered."""
    async with under_load(stage) as trial:
        zombie = stage.fleet.steady()[0]
        async with stage.fleet.frozen(zombie.name):
            await asyncio.sleep(SESSION_SECONDS)
            # What was asked until now includes what the zombie holds: others have answered it.
            await stage.wait_settled()
            before = len([e for e in zombie.node.events if e["event"] == "partition.opened"])
        await zombie.node.event("partition.opened", occurrence=before + 1)
    assert trial.nodes == {"node-1", "node-2"}


async def test_order_holds_when_nodes_join_and_leave(stage: Stage) -> None:
    """A third node gets partitions, and gives them back when it is told to stop."""
    async with under_load(stage) as trial:
        assert await strike(stage, drawn(Fault.NODE_JOINED))
    assert len(trial.nodes) == 3


async def test_order_holds_in_a_storm_of_rebalances(stage: Stage) -> None:
    """Members come and go faster than anything settles; every change moves all partitions."""
    async with under_load(stage):
        assert await strike(stage, drawn(Fault.GROUP_SHAKEN))


async def test_each_poisonous_request_gets_one_error_and_one_dead_letter(stage: Stage) -> None:
    """Unreadable ones get both, a nameless one only the letter, a readable one only the error."""
    async with under_load(stage) as trial:
        stage.load.also([*POISON, Kind.PLAIN] * 5)
    assert trial.verdict.letters == 5 * (len(POISON) - 1)
    errors = [answer for answer in trial.answers if answer.code == "INVALID_ARGUMENT"]
    assert len(errors) == 5 * (len(POISON) - 1)


async def test_a_request_that_kills_the_worker_harms_no_neighbour(stage: Stage) -> None:
    """It is the only one that gets an error, although its worker died twice over it."""
    async with under_load(stage) as trial:
        stage.load.also([Kind.NEIGHBOUR, Kind.NEIGHBOUR, Kind.DEADLY, Kind.NEIGHBOUR])
    assert [answer.code for answer in trial.answers if answer.code != "OK"] == ["UNAVAILABLE"]


async def test_every_answer_is_of_a_version_that_was_wanted_then(stage: Stage) -> None:
    """Versions come and go under load; each answers, and none after its time."""
    async with under_load(stage) as trial:
        versions = {await stage.swap(wait="fleet") for _ in range(3)}
        await stage.watch.wait_more(SOME)
    assert versions <= {answer.version for answer in trial.answers}
