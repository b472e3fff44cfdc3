"""Records a second through the Kafka door, beside a bare aiokafka pass-through and MLServer.

One broker, everything that answers running side by side and taking turns. A round is a backlog
that appears in one moment, or a live load; see `rounds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks import models
from benchmarks.kafka import profiles, rounds
from benchmarks.kafka.deployments import (
    AT_LEAST_ONCE,
    DELIVERIES,
    EXACTLY_ONCE,
    Deployment,
    deployed,
)
from benchmarks.kafka.mlserver import peer
from benchmarks.kafka.passthrough import passing_through
from benchmarks.kafka.payloads import PROVENANCE, Payloads
from benchmarks.kafka.stage import Stage, Subject, staged
from benchmarks.kafka.writing import PARTITIONS
from benchmarks.measurement import Bench, Json, Measured, medians_of

SMALL: Final = "3 floats"
LARGE: Final = "784 floats"
PASS_THROUGH: Final = "pass-through"
PASS_THROUGH_PLUS: Final = "pass-through-plus"
MLSERVER: Final = peer.NAME
BACKLOG: Final = "backlog"
LIVE: Final = "live"
_INPUTS: Final = {SMALL: ("half_plus_two", (3,)), LARGE: ("half_plus_two_784", (1, 784))}
# As long as a node's: five headers of the same names.
_ADDED: Final = {
    "model": "half_plus_two",
    "version": "1",
    "control-offset": "0",
    "artifact-digest": f"sha256:{0:064x}",
    "node": "pass-through-0",
}
assert _ADDED.keys() == PROVENANCE, "the pass-through's headers are a node's"


async def run(bench: Bench) -> Measured:
    """Let everything answer in turn."""
    bench.tell("building the models")
    folders = await models.build(bench.folder, *(model for model, _ in _INPUTS.values()))
    runs: list[Json] = []
    async with staged(bench) as stage:
        async with AsyncExitStack() as stack:
            nodes = await _nodes(stack, stage, folders)
            bare = await stack.enter_async_context(passing_through(stage, PASS_THROUGH))
            plus = passing_through(stage, PASS_THROUGH_PLUS, added=tuple(_ADDED.items()))
            subjects = [*(each.subject for each in nodes.values()), bare]
            small = [*subjects, await stack.enter_async_context(plus)]
            runs += await _take_turns(stage, small, SMALL, BACKLOG)
            runs += await _take_turns(stage, subjects[:-1], SMALL, LIVE)
            runs += await _take_turns(stage, subjects, LARGE, BACKLOG)
            shares = {} if bench.is_quick else await profiles.taken(stage, nodes, _payloads(SMALL))
        found = await peer.measured(stage, _payloads(SMALL), bench.size(3, 1), _seconds(bench))
        runs += [{"input": SMALL, "load": BACKLOG, **figures} for figures in found.runs]
    parameters = {
        "partitions": PARTITIONS,
        "seconds_per_round": _seconds(bench),
        "live_lead_records": rounds.LEAD_RECORDS,
        "DELIVERIES": list(nodes),
        "mlserver": found.about,
    }
    return Measured(parameters=parameters, runs=runs, medians=_medians(runs) | shares)


async def _nodes(
    stack: AsyncExitStack, stage: Stage, folders: Mapping[str, Path]
) -> dict[str, Deployment]:
    found: dict[str, Deployment] = {}
    for delivery in DELIVERIES:
        stage.bench.tell(f"starting a node: {delivery}")
        starting = deployed(stage, delivery, folders)
        found[delivery] = await stack.enter_async_context(starting)
    return found


async def _take_turns(
    stage: Stage, subjects: Sequence[Subject], asked: str, load: str
) -> list[Json]:
    """Let each subject have a round, several times over."""
    bench, payloads = stage.bench, _payloads(asked)
    measure = rounds.of_backlog if load == BACKLOG else rounds.of_live_load
    counts = {
        each.name: await rounds.size(stage, each, payloads, _seconds(bench)) for each in subjects
    }
    runs: list[Json] = []
    for number in range(bench.size(3, 1)):
        for each in subjects:
            figures = await measure(stage, each, payloads, counts[each.name])
            bench.tell(
                f"{asked}, {load}, round {number + 1}: {each.name} "
                f"{figures['records_per_second']:,} records/s, "
                f"others used {figures['cpu_elsewhere_percent']} % of a core"
            )
            runs.append({"input": asked, "load": load, **figures})
    return runs


def _payloads(asked: str) -> Payloads:
    model, shape = _INPUTS[asked]
    return Payloads.of([model], shape)


def _seconds(bench: Bench) -> float:
    return bench.size(40, 8) / 10


def _medians(runs: Sequence[Json]) -> Json:
    keys = dict.fromkeys((run["input"], run["load"], run["subject"]) for run in runs)
    found: Json = {}
    for asked, load, subject in keys:
        same = [r for r in runs if (r["input"], r["load"], r["subject"]) == (asked, load, subject)]
        found.setdefault(asked, {}).setdefault(load, {})[subject] = medians_of(same)
    return {"rates": found, "ratios": ratios(found)}


def ratio_name(of: str, to: str, asked: str) -> str:
    """Return what the results call a ratio."""
    return f"{of} to {to}, {asked}"


def ratios(rates: Json) -> Json:
    """Return what is compared with what, as far as both were measured."""
    found: Json = {}
    for asked, of, to in (
        *((asked, AT_LEAST_ONCE, PASS_THROUGH) for asked in (SMALL, LARGE)),
        *((asked, EXACTLY_ONCE, AT_LEAST_ONCE) for asked in (SMALL, LARGE)),
        *((SMALL, delivery, MLSERVER) for delivery in (AT_LEAST_ONCE, EXACTLY_ONCE)),
    ):
        backlog = rates.get(asked, {}).get(BACKLOG, {})
        if of in backlog and to in backlog:
            rate, other = (backlog[name]["records_per_second"] for name in (of, to))
            found[ratio_name(of, to, asked)] = round(rate / other, 3)
    return found
