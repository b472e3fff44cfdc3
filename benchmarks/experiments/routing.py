"""What routing costs a request, by the arms of a split: see `routing_loop`, in its own process."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.children import running
from benchmarks.experiments import routing_loop
from benchmarks.measurement import Bench, Json, Measured, medians_of

_MODULE = "benchmarks.experiments.routing_loop"


async def run(bench: Bench) -> Measured:
    """Let the kinds of names take turns, several times over."""
    requests, rounds = bench.size(300_000, 5_000), bench.size(7, 2)
    # The first part is the loop alone, which is taken off the others.
    count = (len(routing_loop.parts()) - 1) * rounds
    runs: list[Json] = []
    async with running(_MODULE, [str(requests), str(rounds)], bench.folder) as child:
        for _ in range(count):
            found = await child.next_message()
            bench.tell(f"{found['part']} {found['keys']}: {found['ns']:,.0f} ns")
            runs.append(found)
        await child.finish()
    parameters = {"requests_per_round": requests, "rounds": rounds}
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))


def medians(runs: Sequence[Json]) -> Json:
    """Return median costs by kind of name and of key, and what they are to no split's."""
    found: Json = {}
    for part, keys in dict.fromkeys((run["part"], run["keys"]) for run in runs):
        same = [run for run in runs if (run["part"], run["keys"]) == (part, keys)]
        found.setdefault(part, {})[keys] = medians_of(same, 1)
    plain = found[routing_loop.of_arms(0)]
    for by_keys in found.values():
        for keys, figures in by_keys.items():
            figures["ratio"] = round(figures["ns"] / plain[keys]["ns"], 2)
    return {"parts": found}
