"""What a node answers in time when it is asked once, twice and three times what it can do.

Calls come at random moments whatever becomes of earlier ones, and each has a deadline of a second,
after which its client gives it up. A *fast* model is bound by the node, a *slow* one by its worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks import models
from benchmarks.measurement import Bench, Json, Measured, medians_of
from benchmarks.predict_wire import Floats
from benchmarks.rpc import calling
from benchmarks.rpc.calling import Stand
from benchmarks.servers import broker, node
from headrace.publisher.models import ModelPublisher

FAST: Final = "fast"
SLOW: Final = "slow"
FACTORS: Final = (1, 2, 3)
CONNECTIONS: Final = (8, 64)
_MODELS: Final = {FAST: "half_plus_two", SLOW: "half_plus_two_slow"}
_X: Final[Floats] = np.array([1.0, 2.0, 5.0], np.float32)
_Y: Final[Floats] = np.array([2.5, 3.0, 4.5], np.float32)
_DEADLINE_SECONDS: Final = 1.0


async def run(bench: Bench) -> Measured:
    """Let the loads take turns, for each model and number of connections."""
    folders = await models.build(bench.folder, *_MODELS.values())
    seconds = bench.size(3, 1)
    runs: list[Json] = []
    async with broker() as connection, node(bench, connection) as serving:
        async with ModelPublisher(connection, store=str(bench.folder / "store")) as publisher:
            for name, folder in folders.items():
                await publisher.publish(name, 1, folder, wait="any")
        for kind, name in _MODELS.items():
            files = await calling.requests(bench.folder, serving, [name], _X, _Y)
            order = calling.order_of(
                serving, files, seconds=seconds, timeout_seconds=_DEADLINE_SECONDS
            )
            stand = Stand(bench, serving, order)
            for connections in CONNECTIONS:
                found = await _take_turns(stand, connections)
                runs += [{"model": kind, "connections": connections, **one} for one in found]
    parameters = {
        "deadline_seconds": _DEADLINE_SECONDS,
        "calls_open_at_peak": calling.PEAK_CALLS,
        "rounds": bench.size(3, 1),
        "seconds_per_round": seconds,
        "settle_seconds": calling.SETTLE_SECONDS,
    }
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))


async def _take_turns(stand: Stand, connections: int) -> list[Json]:
    bench, rounds = stand.bench, stand.bench.size(3, 1)
    peaks = [await stand.peak(connections) for _ in range(rounds)]
    peak: float = medians_of(peaks)["answered_per_second"]
    bench.tell(f"{stand.order.requests[0].rpartition('/')[2]}, peak: {peak:,.0f} calls/s")
    runs: list[Json] = [{"factor": 0, **figures} for figures in peaks]
    for number in range(rounds):
        for factor in FACTORS:
            found = await stand.at_rate(connections, peak * factor, seed=number)
            share = round(100 * found["answered_per_second"] / peak)
            bench.tell(
                f"{connections} connections, {factor} × the peak: {share} % of it answered in "
                f"time, {found['statuses']}; client {found['client_cpu_percent']} % of a core"
            )
            runs.append({"factor": factor, "percent_of_peak": share, **found})
    return runs


def medians(runs: Sequence[Json]) -> Json:
    """Return medians by model, connections and factor; factor 0 is the peak itself."""
    found: Json = {}
    keys = dict.fromkeys((run["model"], run["connections"], run["factor"]) for run in runs)
    for model, connections, factor in keys:
        same = [
            run
            for run in runs
            if (run["model"], run["connections"], run["factor"]) == (model, connections, factor)
        ]
        by_connections = found.setdefault(model, {}).setdefault(str(connections), {})
        by_connections[str(factor)] = medians_of(same) | {"statuses": _statuses(same)}
    return found


def _statuses(runs: Sequence[Json]) -> Json:
    """Return percent of the calls of several runs by how they ended."""
    total = sum(run["calls"] for run in runs)
    names = dict.fromkeys(name for run in runs for name in run["statuses"])
    return {
        name: round(100 * sum(run["statuses"].get(name, 0) for run in runs) / total, 1)
        for name in names
    }
