"""One round of h2load: one subject is asked while the others idle, and who used the processors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import h2load, proc
from benchmarks.children import Child
from benchmarks.h2load import Shape, Target
from benchmarks.kafka.processor_time import ELSEWHERE, Pids, ProcessorTime
from benchmarks.measurement import Bench, Json, medians_of
from benchmarks.predict_wire import Floats
from benchmarks.rpc.wires import Wire, ask_and_check

CLIENT: Final = "client"
CPU: Final = "cpu_seconds_per_1000_calls"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that answers gRPC. `pids` are its processes by part, looked up for each round."""

    name: str
    target: Target
    pids: Callable[[], Pids]


async def asked(
    folder: Path, wire: Wire, endpoint: str, request: bytes, expected: Floats
) -> Target:
    """Ask once, check the answer, and return what h2load is to ask from now on."""
    answer = await ask_and_check(wire, endpoint, request, expected)
    body = folder / f"request-{endpoint.rpartition(':')[2]}-{len(request)}"
    return Target(endpoint, h2load.write_request(body, request), len(answer), wire.method)


async def calibrated(subject: Subject, shape: Shape, seconds: float, first_calls: int) -> int:
    """Return how many calls take about so long; warms up on the way."""
    took = (await h2load.load(subject.target, shape, first_calls)).seconds
    return max(shape.connections * shape.streams, int(first_calls / took * seconds))


async def measured(subject: Subject, shape: Shape, calls: int) -> Json:
    """Make so many calls; return the figures of the round, by names that medians are made of."""
    clock = ProcessorTime(subject.pids())
    loaded = await h2load.load(subject.target, shape, calls)
    used = clock.used()
    elsewhere = used.pop(ELSEWHERE) - loaded.client_cpu_seconds
    return {
        "subject": subject.name,
        "shape": str(shape),
        "calls": calls,
        "calls_per_second": round(calls / loaded.seconds, 1),
        "cpu_elsewhere_percent": round(100 * elsewhere / loaded.seconds),
        **per_1000(used | {CLIENT: loaded.client_cpu_seconds}, calls),
    }


async def take_turns(
    bench: Bench, subjects: Sequence[Subject], shapes: Sequence[Shape], first_calls: int
) -> list[Json]:
    """Let each subject have a round, several times over, in each shape."""
    runs: list[Json] = []
    for shape in shapes:
        calls = {
            each.name: await calibrated(each, shape, seconds_of(bench), first_calls)
            for each in subjects
        }
        for number in range(rounds_of(bench)):
            bench.tell(f"{shape}, round {number + 1}")
            runs += [await measured(each, shape, calls[each.name]) for each in subjects]
    return runs


def medians(runs: Sequence[Json]) -> Json:
    """Return medians by shape and subject."""
    found: Json = {}
    for shape, subject in dict.fromkeys((run["shape"], run["subject"]) for run in runs):
        same = [run for run in runs if (run["shape"], run["subject"]) == (shape, subject)]
        found.setdefault(shape, {})[subject] = medians_of(same, 4)
    return {"shapes": found}


def rounds_of(bench: Bench) -> int:
    """Return how many rounds each subject has in each shape."""
    return bench.size(3, 1)


def seconds_of(bench: Bench) -> int:
    """Return how long a round is to take."""
    return bench.size(3, 1)


def per_1000(used: Mapping[str, float], calls: int) -> Json:
    """Return processor time by part, for so many calls."""
    return {f"{part}_{CPU}": round(seconds / calls * 1000, 4) for part, seconds in used.items()}


def pids_of_node(pid: int) -> Pids:
    """Return a node's processes that work for a call."""
    workers = proc.named([found for found in proc.tree(pid) if found != pid], "hr ")
    return {"node": [pid], "worker": workers}


def pids_below(child: Child, part: str) -> Callable[[], Pids]:
    """Return what looks up a child's whole tree of processes as one part."""
    return lambda: {part: proc.tree(child.pid)}
