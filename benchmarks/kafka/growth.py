"""What answering costs as nodes, models and values grow, by the node's default guarantee.

A second node on the same machine makes nothing faster; what it shows is whether a record costs more
processor time when there are more nodes. Each line is measured on nodes that are started for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import models, proc
from benchmarks.kafka import rounds
from benchmarks.kafka.deployments import EXACTLY_ONCE, deployed
from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.stage import Stage, Subject, staged
from benchmarks.measurement import Bench, Json, Measured, medians_of

NODES: Final = "nodes"
MODELS: Final = "models"
VALUES: Final = "value bytes"
_MODEL: Final = "half_plus_two"
_SHORT: Final = "m"
_SMALL: Final = (3,)
# The largest request that `InferenceClient` takes has 1,000,000 bytes, key and value together.
_VALUE_BYTES: Final = (50, 500, 5_000, 50_000, 500_000, 1_000_000)
_QUICK_VALUE_BYTES: Final = (50, 50_000)


async def run(bench: Bench) -> Measured:
    """Measure one growth after the other."""
    delivery = EXACTLY_ONCE
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    runs: list[Json] = []
    async with staged(bench) as stage:
        for count in (1, 2) if bench.is_quick else (1, 2, 4):
            runs += await _with_nodes(stage, delivery, folder, count)
        for count in (5,) if bench.is_quick else (1, 10, 100):
            runs += await _with_models(stage, delivery, folder, count)
        runs += await _with_values(stage, delivery, folder)
    parameters = {"delivery": delivery, "rounds": _rounds(bench), "seconds": _seconds(bench)}
    return Measured(parameters=parameters, runs=runs, medians=_medians(runs))


async def _with_nodes(stage: Stage, delivery: str, folder: Path, count: int) -> list[Json]:
    payloads = Payloads.of([_MODEL], _SMALL)
    deploying = deployed(stage, delivery, {_MODEL: folder}, nodes=count, name=f"nodes-{count}")
    async with deploying as deployment:
        return await _measure(stage, deployment.subject, payloads, NODES, count)


async def _with_models(stage: Stage, delivery: str, folder: Path, count: int) -> list[Json]:
    """Interleave the models record by record, the worst order for batches."""
    names = [f"{_MODEL}-{number:03d}" for number in range(count)]
    payloads = Payloads.of(names, _SMALL)
    deploying = deployed(stage, delivery, dict.fromkeys(names, folder), name=f"models-{count}")
    async with deploying as deployment:
        return await _measure(stage, deployment.subject, payloads, MODELS, count)


async def _with_values(stage: Stage, delivery: str, folder: Path) -> list[Json]:
    runs: list[Json] = []
    sizes = _QUICK_VALUE_BYTES if stage.bench.is_quick else _VALUE_BYTES
    async with deployed(stage, delivery, {_SHORT: folder}, name="values") as deployment:
        for size in sizes:
            payloads = Payloads.of([_SHORT], (floats_for(size),))
            runs += await _measure(stage, deployment.subject, payloads, VALUES, size)
    return runs


async def _measure(
    stage: Stage, subject: Subject, payloads: Payloads, grown: str, size: int
) -> list[Json]:
    bench = stage.bench
    count = await rounds.size(stage, subject, payloads, _seconds(bench))
    nodes, workers = (list(subject.pids()[part]) for part in ("node", "workers"))
    runs: list[Json] = []
    for _ in range(_rounds(bench)):
        for pid in nodes:
            proc.forget_peak(pid)
        found = await rounds.of_backlog(stage, subject, payloads, count)
        megabytes = found["records_per_second"] * payloads.value_bytes / 1e6
        runs.append(
            {
                "grown": grown,
                "size": size,
                **found,
                "megabytes_per_second": round(megabytes, 2),
                "node_peak_mb": round(sum(map(proc.peak_memory_bytes, nodes)) / 1e6, 1),
                # Not resident sets: workers share most of their pages with each other.
                "workers_anonymous_mb": round(proc.memory(workers).anonymous_bytes / 1e6, 1),
            }
        )
    bench.tell(f"{grown} {size:,}: {runs[-1]['records_per_second']:,} records/s")
    return runs


def floats_for(value_bytes: int) -> int:
    """Return how many floats make a value of at most so many bytes; at least one."""
    without = Payloads.of([_SHORT], (1,)).value_bytes - 4
    # Lengths are written in a few bytes more when they are large.
    return max(1, (value_bytes - without - 8) // 4)


def _rounds(bench: Bench) -> int:
    return bench.size(3, 1)


def _seconds(bench: Bench) -> float:
    return bench.size(30, 6) / 10


def _medians(runs: Sequence[Json]) -> Json:
    found: Json = {}
    for grown, size in dict.fromkeys((run["grown"], run["size"]) for run in runs):
        same = [run for run in runs if (run["grown"], run["size"]) == (grown, size)]
        found.setdefault(grown, {})[str(size)] = medians_of(same)
    return found
