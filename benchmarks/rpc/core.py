"""The serving core alone: see `core_loop`, which runs it in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from benchmarks import profile
from benchmarks.children import running
from benchmarks.measurement import Bench, Json, Measured, medians_of
from benchmarks.rpc import core_loop

_MODULE: Final = "benchmarks.rpc.core_loop"
_PARTS: Final = (
    core_loop.WHOLE,
    core_loop.ROUTE,
    core_loop.LOAN,
    core_loop.QUEUE,
    core_loop.TIMER,
    core_loop.TURN,
    core_loop.GROUPS,
    core_loop.FRAMES,
)
_OWNERS: Final = (
    (re.compile(r"workers/queue\.py"), "queue and tickets"),
    (re.compile(r"workers/servable\.py"), "infer: timer, wait, result"),
    (re.compile(r"workers/(dispatch|lane|flight|company|pace|inbox)\.py"), "frames: cut, settled"),
    (re.compile(r"core/serving_map\.py"), "loan"),
    (re.compile(r"formats/routes\.py"), "route"),
    (re.compile(r"rpc/core_loop\.py"), "the callers"),
    (re.compile(r"asyncio/|_asyncio"), "asyncio"),
)


async def run(bench: Bench) -> Measured:
    """Let the parts take turns, several times over."""
    seconds, rounds = bench.size(15, 5) / 10, bench.size(5, 1)
    runs: list[Json] = []
    async with running(_MODULE, [str(seconds), *(_PARTS * rounds)], bench.folder) as child:
        await child.next_message()
        for _ in range(len(_PARTS) * rounds):
            found = await child.next_message()
            bench.tell(f"{found['part']}: {found['calls_per_second']:,} calls/s")
            runs.append(found)
        await child.finish()
    parameters = {
        "concurrency": core_loop.CONCURRENCY,
        "rounds": rounds,
        "seconds_per_part": seconds,
    }
    medians = {"parts": _medians(runs)} | await _profile(bench)
    return Measured(parameters=parameters, runs=runs, medians=medians)


async def _profile(bench: Bench) -> Json:
    """Return where the time of the whole core goes, if py-spy is there to see it."""
    py_spy = profile.find()
    if py_spy is None:
        bench.tell("no py-spy on the PATH or in PY_SPY: the core is not profiled")
        return {}
    arguments = [str(profile.SECONDS + 2), core_loop.WHOLE]
    async with running(_MODULE, arguments, bench.folder) as child:
        await child.next_message()
        output = bench.folder / "core-profile"
        lines = await profile.samples(py_spy, child.pid, output, child.next_message)
        await child.finish()
    return {"profile_percent": profile.by_owner(lines, _OWNERS)}


def _medians(runs: Sequence[Json]) -> Json:
    parts = dict.fromkeys(run["part"] for run in runs)
    return {part: medians_of([run for run in runs if run["part"] == part]) for part in parts}
