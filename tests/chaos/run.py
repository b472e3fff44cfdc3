"""The whole suite at random: `python -m tests.chaos.run --requests 200000 --faults 30 --seed 7`.

Requests are written at a steady rate until there are enough of them and enough has happened; then
everything is put back in order, and what was left behind is judged.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.publisher import quiet_logs
from tests.chaos.checker import Delivery, Verdict, check
from tests.chaos.faults import Draw, Fault, draws, strike
from tests.chaos.stage import DEFAULT_DELIVERY, Stage, open_stage

DELIVERIES: Final[tuple[Delivery, ...]] = ("exactly_once", "at_least_once")
SEED_VARIABLE: Final = "HEADRACE_CHAOS_SEED"
_FIRST_ANSWERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to be: at least so many requests and so many faults."""

    requests: int
    faults: int
    seed: int
    folder: Path
    rate: float = 2000.0
    nodes: int = 3
    delivery: Delivery = DEFAULT_DELIVERY
    is_loud: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run was."""

    plan: Plan
    verdict: Verdict
    faults: Counter[Fault]
    failures: Sequence[str]
    seconds: float
    recovery_seconds: float
    longest_gap_seconds: float

    @property
    def is_good(self) -> bool:
        """Whether every invariant held."""
        return not self.verdict.violations(self.plan.delivery) and not self.failures

    def summary(self) -> str:
        """Return the run in one line."""
        verdict, plan = self.verdict, self.plan
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(self.faults.items()))
        figures = {
            "seed": plan.seed,
            "delivery": plan.delivery,
            "requests": verdict.requests,
            "answers": verdict.answers,
            "dead_letters": verdict.letters,
            "lost": len(verdict.lost),
            "duplicates": len(verdict.doubled),
            "out_of_order": len(verdict.disordered),
            "wrong": len(verdict.wrong),
            "unsound": len(verdict.unsound),
            "excused": verdict.excused,
            "failures": len(self.failures),
            "faults": f"{self.faults.total()} ({kinds})",
            "duration_seconds": round(self.seconds, 1),
            "recovery_seconds": round(self.recovery_seconds, 1),
            "longest_gap_seconds": round(self.longest_gap_seconds, 1),
            "slowest_swap_seconds": round(verdict.slowest_swap_seconds, 1),
        }
        words = " ".join(f"{name}={value}" for name, value in figures.items())
        return f"chaos {'ok' if self.is_good else 'FAILED'}: {words}"

    def report(self) -> str:
        """Return the summary, and with flaws what they are and where to look."""
        if self.is_good:
            return self.summary()
        flaws = [self.verdict.words(self.plan.delivery), *self.failures]
        folder = f"timeline, node logs and broker logs: {self.plan.folder}"
        return "\n".join([self.summary(), *flaws, folder])


async def run(plan: Plan) -> Outcome:
    """Do a whole run.

    Raises:
        ExceptionGroup: with an AssertionError: what was killed did not come back.
    """
    async with open_stage(
        plan.folder, nodes=plan.nodes, delivery=plan.delivery, is_loud=plan.is_loud
    ) as stage:
        began = stage.log.seconds
        faults = await _rage(stage, plan)
        gap = stage.watch.longest_gap_seconds
        calm = stage.log.seconds
        try:
            await stage.wait_settled()
        except AssertionError as error:
            # What is missing says more than that something is.
            stage.fleet.failures.append(str(error))
        recovery = stage.log.seconds - calm
        stage.log.note("everything is committed")
        for member in stage.fleet.steady():
            await stage.fleet.leave(member.name)
        seconds = stage.log.seconds - began
        verdict = check(await stage.gather())
    outcome = Outcome(
        plan=plan,
        verdict=verdict,
        faults=faults,
        failures=stage.fleet.failures,
        seconds=seconds,
        recovery_seconds=recovery,
        longest_gap_seconds=gap,
    )
    stage.log.note(outcome.report())
    return outcome


async def _rage(stage: Stage, plan: Plan) -> Counter[Fault]:
    """Load and faults together until there was enough of both; faults may overlap."""
    done: Counter[Fault] = Counter()
    is_over = False

    async def suffer(draw: Draw) -> None:
        done[draw.fault] += 1
        if not await strike(stage, draw):
            done[draw.fault] -= 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.load.write(rate=plan.rate, is_enough=lambda: is_over), name="load")
        await stage.watch.wait_more(_FIRST_ANSWERS)
        stage.watch.start_clock()
        async with asyncio.TaskGroup() as striking:
            for draw in draws(plan.seed):
                if stage.load.numbers >= plan.requests and done.total() >= plan.faults:
                    break
                await asyncio.sleep(draw.pause_seconds)
                striking.create_task(suffer(draw), name=draw.fault)
        is_over = True
    return +done


def chosen_seed() -> int:
    """Return the seed of the environment, or a new one."""
    given = os.environ.get(SEED_VARIABLE)
    return int(given) if given else random.randrange(2**31)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="at least so many")
    parser.add_argument("--faults", type=int, default=30, help="at least so many")
    parser.add_argument(
        "--seed", type=int, default=None, help=f"or {SEED_VARIABLE}; else by chance"
    )
    parser.add_argument("--rate", type=float, default=2000.0, help="requests a second")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument(
        "--delivery",
        choices=[*DELIVERIES, "both"],
        default="both",
        help="both: one run after the other with the same seed",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 when every invariant held. What a bad run left behind is kept."""
    given = _arguments(sys.argv[1:] if arguments is None else arguments)
    seed = chosen_seed() if given.seed is None else given.seed
    quiet_logs(level=logging.CRITICAL)
    is_good = True
    for delivery in DELIVERIES if given.delivery == "both" else [given.delivery]:
        folder = Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
        sys.stderr.write(f"seed {seed}, {delivery}, everything is in {folder}\n")
        plan = Plan(
            requests=given.requests,
            faults=given.faults,
            seed=seed,
            folder=folder,
            rate=given.rate,
            nodes=given.nodes,
            delivery=delivery,
            is_loud=True,
        )
        outcome = asyncio.run(run(plan))
        sys.stdout.write(f"{outcome.report()}\n")
        is_good = is_good and outcome.is_good
        if outcome.is_good:
            shutil.rmtree(folder)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
