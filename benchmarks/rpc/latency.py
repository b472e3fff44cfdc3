"""How long a call takes at a quarter, half and three quarters of the peak, with 1, 8 and 64 models.

The peak is the same node's, with the same models, in the same run. Calls come one by one at random
moments, and ask the models in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from benchmarks import models
from benchmarks.measurement import Bench, Json, Measured, medians_of
from benchmarks.predict_wire import Floats
from benchmarks.rpc import calling
from benchmarks.rpc.calling import Stand
from benchmarks.servers import broker, node
from headrace.publisher.models import ModelPublisher

PEAK: Final = "peak"
SHARES: Final = (0.25, 0.5, 0.75)
_MODEL: Final = "half_plus_two"
_X: Final[Floats] = np.array([1.0, 2.0, 5.0], np.float32)
_Y: Final[Floats] = np.array([2.5, 3.0, 4.5], np.float32)
_CONNECTIONS: Final = 8
_TIMEOUT_SECONDS: Final = 10.0


def at_share(share: float) -> str:
    """Return what the results call a rate."""
    return f"{share:.0%} of the peak"


async def run(bench: Bench) -> Measured:
    """Load more and more models, and each time let the rates take turns."""
    counts = (1, 8, 64) if not bench.is_quick else (1, 3)
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    seconds = bench.size(4, 1)
    runs: list[Json] = []
    async with (
        broker() as connection,
        node(bench, connection) as serving,
        ModelPublisher(connection, store=str(bench.folder / "store")) as publisher,
    ):
        names: list[str] = []
        for count in counts:
            new = [f"{_MODEL}_{number}" for number in range(len(names), count)]
            await calling.publish(bench, publisher, folder, new)
            names += new
            files = await calling.requests(bench.folder, serving, names, _X, _Y)
            order = calling.order_of(
                serving, files, seconds=seconds, timeout_seconds=_TIMEOUT_SECONDS
            )
            stand = Stand(bench, serving, order)
            runs += [{"models": count, **figures} for figures in await _take_turns(stand)]
    parameters = {
        "connections": _CONNECTIONS,
        "calls_open_at_peak": calling.PEAK_CALLS,
        "rounds": bench.size(3, 1),
        "seconds_per_round": seconds,
        "settle_seconds": calling.SETTLE_SECONDS,
    }
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))


async def _take_turns(stand: Stand) -> list[Json]:
    """Measure the peak, then the rates that are shares of it."""
    bench, rounds = stand.bench, stand.bench.size(3, 1)
    # The first calls of a model are not those of a busy one.
    await replace(stand, order=replace(stand.order, seconds=1.0)).peak(_CONNECTIONS)
    peaks = [await stand.peak(_CONNECTIONS) for _ in range(rounds)]
    peak: float = medians_of(peaks)["answered_per_second"]
    bench.tell(f"{len(stand.order.requests)} models, peak: {peak:,.0f} calls/s")
    runs: list[Json] = [{"load": PEAK, **figures} for figures in peaks]
    for number in range(rounds):
        for share in SHARES:
            found = await stand.at_rate(_CONNECTIONS, peak * share, seed=number)
            bench.tell(
                f"{at_share(share)}: p50 {found.get('p50_ms')} ms, p99 {found.get('p99_ms')} ms"
            )
            runs.append({"load": at_share(share), **found})
    return runs


def medians(runs: Sequence[Json]) -> Json:
    """Return medians by number of models and rate."""
    found: Json = {}
    for count, load in dict.fromkeys((run["models"], run["load"]) for run in runs):
        same = [run for run in runs if (run["models"], run["load"]) == (count, load)]
        found.setdefault(str(count), {})[load] = medians_of(same) | {
            "failed": sum(run["calls"] - run["statuses"].get("0", 0) for run in same)
        }
    return {"models": found}
