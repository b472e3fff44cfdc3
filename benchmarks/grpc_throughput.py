"""Predict on y = 0.5 x + 2 as fast as it goes, beside an empty `grpc.aio` echo server.

Both are loaded by the same compiled client in turn, several times, in several shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from benchmarks import h2load, models, proc, profile
from benchmarks.children import running
from benchmarks.h2load import Shape, Target
from benchmarks.measurement import Bench, BenchmarkError, Json, Measured, medians_of
from benchmarks.predict_wire import Floats, ask_and_check, request_bytes
from benchmarks.servers import broker, node
from headrace.publisher.models import ModelPublisher

_MODEL: Final = "half_plus_two"
_X: Final[Floats] = np.array([1.0, 2.0, 5.0], np.float32)
_Y: Final = (2.5, 3.0, 4.5)
_SHAPES: Final = (Shape(1, 1), Shape(4, 16), Shape(8, 32))
_PROFILED: Final = _SHAPES[1]
_WARM_UP_CALLS: Final = 2000
NODE: Final = "Headrace"
ECHO: Final = "grpc.aio echo"


async def run(bench: Bench) -> Measured:
    """Load both servers in turn."""
    rounds, seconds = bench.size(5, 1), bench.size(4, 1)
    h2load.find()
    bench.tell("building the model")
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    async with (
        broker() as connection,
        node(bench, connection) as serving,
        running("benchmarks.echo_server", [], bench.folder) as echo,
    ):
        async with ModelPublisher(connection, store=str(bench.folder / "store")) as publisher:
            await publisher.publish(_MODEL, 1, folder, wait="any")
        request = request_bytes(_MODEL, "x", _X)
        body = h2load.write_request(bench.folder / "request", request)
        answer = await ask_and_check(serving.grpc_endpoint, request, "y", _Y)
        targets = {
            NODE: Target(serving.grpc_endpoint, body, len(answer)),
            ECHO: Target((await echo.next_message())["endpoint"], body, len(request)),
        }
        pids = {
            NODE: {"node": serving.pid, "worker": _worker(serving.pid)},
            ECHO: {"echo": echo.pid},
        }
        runs: list[Json] = []
        for shape in _SHAPES:
            calls = {name: await _calibrate(t, shape, seconds) for name, t in targets.items()}
            for number in range(rounds):
                bench.tell(f"{shape}, round {number + 1} of {rounds}")
                for name, target in targets.items():
                    figures = await _load(target, shape, calls[name], pids[name])
                    runs.append({"server": name, "shape": str(shape), **figures})
        notes = await _profile(bench, serving.pid, targets[NODE])
        await ask_and_check(serving.grpc_endpoint, request, "y", _Y)
    parameters = {
        "shapes": [str(shape) for shape in _SHAPES],
        "rounds": rounds,
        "seconds_per_round": seconds,
        "request_bytes": len(request),
        "answer_bytes": len(answer),
        "profiled_shape": str(_PROFILED),
    }
    return Measured(parameters=parameters, runs=runs, medians=_medians(runs) | notes)


def _worker(node_pid: int) -> int:
    found = proc.named(proc.tree(node_pid), "hr ")
    if len(found) != 1:
        raise BenchmarkError(f"expected one worker below the node, found {len(found)}")
    return found[0]


async def _calibrate(target: Target, shape: Shape, seconds: int) -> int:
    """Return how many calls take about `seconds`; warms up on the way."""
    took = await h2load.load(target, shape, _WARM_UP_CALLS)
    return max(_WARM_UP_CALLS, int(_WARM_UP_CALLS / took * seconds))


async def _load(target: Target, shape: Shape, calls: int, pids: Mapping[str, int]) -> Json:
    before = {name: proc.cpu_seconds(pid) for name, pid in pids.items()}
    seconds = await h2load.load(target, shape, calls)
    used = {name: proc.cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    return {
        "calls": calls,
        "calls_per_second": round(calls / seconds, 1),
        **{
            f"{name}_cpu_seconds_per_1000_calls": round(cpu / calls * 1000, 4)
            for name, cpu in used.items()
        },
    }


async def _profile(bench: Bench, node_pid: int, target: Target) -> Json:
    """Return where the node's time goes, if py-spy is there to see it."""
    py_spy = profile.find()
    if py_spy is None:
        bench.tell("no py-spy on the PATH or in PY_SPY: the node is not profiled")
        return {}
    calls = await _calibrate(target, _PROFILED, bench.size(10, 3))
    bench.tell("profiling the node")
    shares = await profile.shares(
        py_spy,
        node_pid,
        bench.folder / "profile",
        lambda: h2load.load(target, _PROFILED, calls),
    )
    return {"node_profile_percent": shares}


def _medians(runs: list[Json]) -> Json:
    found: Json = {}
    for shape in map(str, _SHAPES):
        medians = {
            name: medians_of([r for r in runs if (r["server"], r["shape"]) == (name, shape)], 4)
            for name in (NODE, ECHO)
        }
        rates = [medians[name]["calls_per_second"] for name in (NODE, ECHO)]
        found[shape] = {**medians, "headrace_to_echo": round(rates[0] / rates[1], 3)}
    return {"shapes": found}
