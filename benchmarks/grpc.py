"""Calls a second on y = 0.5 x + 2, beside an empty `grpc.aio` echo, MLServer and PyTriton.

All are up at once and loaded by the same compiled client in turn, several times, in several shapes.
The other figures of the gRPC door are in `benchmarks/rpc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import numpy as np

from benchmarks import h2load, models, profile
from benchmarks.children import running
from benchmarks.h2load import Shape, Target
from benchmarks.measurement import Bench, BenchmarkError, Json, Measured
from benchmarks.predict_wire import Floats
from benchmarks.rpc import peers
from benchmarks.rpc.rounds import (
    Subject,
    asked,
    calibrated,
    measured,
    medians,
    pids_below,
    pids_of_node,
    rounds_of,
    seconds_of,
)
from benchmarks.rpc.wires import INFER, PREDICT, Unanswered
from benchmarks.servers import Node, broker, node
from headrace.publisher.models import ModelPublisher

NODE: Final = "Headrace"
NODE_INFER: Final = "Headrace, Open Inference"
ECHO: Final = "grpc.aio echo"
_MODEL: Final = "half_plus_two"
_X: Final[Floats] = np.array([1.0, 2.0, 5.0], np.float32)
_Y: Final[Floats] = np.array([2.5, 3.0, 4.5], np.float32)
SINGLE: Final = Shape(1, 1)
"""A single caller, who asks again when there is an answer."""
_SHAPES: Final = (SINGLE, Shape(4, 16), Shape(8, 32))
_PROFILED: Final = _SHAPES[1]
_FIRST_CALLS: Final = 1000
_PEERS: Final[Mapping[str, peers.Serving]] = {
    peers.MLSERVER: peers.mlserver,
    peers.PYTRITON: peers.pytriton,
}


async def run(bench: Bench) -> Measured:
    """Load everything in turn."""
    h2load.find()
    bench.tell("building the model")
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    async with (
        broker() as connection,
        node(bench, connection) as serving,
        running("benchmarks.echo_server", [], bench.folder) as echo,
        AsyncExitStack() as stack,
    ):
        async with ModelPublisher(connection, store=str(bench.folder / "store")) as publisher:
            await publisher.publish(_MODEL, 1, folder, wait="any")
        request = PREDICT.request_bytes(_MODEL, "x", _X)
        target = await asked(bench.folder, PREDICT, serving.grpc_endpoint, request, _Y)
        echo_endpoint = (await echo.next_message())["endpoint"]
        subjects = [
            Subject(NODE, target, lambda: pids_of_node(serving.pid)),
            Subject(
                ECHO,
                Target(echo_endpoint, target.request, len(request)),
                pids_below(echo, "server"),
            ),
        ]
        absent: dict[str, str] = {}
        subjects += await _open_inference(bench, serving, absent)
        subjects += await _peers(bench, stack, absent)
        runs = await _take_turns(bench, subjects, absent)
        notes = await _profile(bench, serving.pid, target)
        await asked(bench.folder, PREDICT, serving.grpc_endpoint, request, _Y)
    parameters = {
        "shapes": [str(shape) for shape in _SHAPES],
        "rounds": rounds_of(bench),
        "seconds_per_round": seconds_of(bench),
        "request_bytes": len(request),
        "answer_bytes": target.answer_bytes,
        "profiled_shape": str(_PROFILED),
        "peers": peers.versions(),
        "not_measured": absent,
    }
    return Measured(parameters=parameters, runs=runs, medians=medians(runs) | notes)


async def _open_inference(bench: Bench, serving: Node, absent: dict[str, str]) -> list[Subject]:
    request = INFER.request_bytes(_MODEL, "x", _X)
    try:
        target = await asked(bench.folder, INFER, serving.grpc_endpoint, request, _Y)
    except Unanswered as error:
        bench.tell(f"{NODE_INFER}: {error}")
        absent[NODE_INFER] = str(error)
        return []
    return [Subject(NODE_INFER, target, lambda: pids_of_node(serving.pid))]


async def _peers(bench: Bench, stack: AsyncExitStack, absent: dict[str, str]) -> list[Subject]:
    """Start the peers; those that cannot be had here are left out, with the reason."""
    found: list[Subject] = []
    for name, serving in _PEERS.items():
        bench.tell(f"starting {name} (installed into the cache the first time)")
        try:
            found.append(await stack.enter_async_context(serving(bench, _X, _Y)))
        except BenchmarkError as error:
            bench.tell(f"{name}: {error}")
            absent[name] = str(error)
    return found


async def _take_turns(
    bench: Bench, subjects: Sequence[Subject], absent: dict[str, str]
) -> list[Json]:
    """Let each subject have a round, several times over, in each shape.

    A peer that fails calls is left out from then on, with all of its figures.

    Raises:
        BenchmarkError: one of ours failed calls.
    """
    runs: list[Json] = []
    for shape in _SHAPES:
        calls: dict[str, int] = {}
        for number in range(rounds_of(bench)):
            bench.tell(f"{shape}, round {number + 1}")
            for subject in (each for each in subjects if each.name not in absent):
                try:
                    if subject.name not in calls:
                        seconds = seconds_of(bench)
                        calls[subject.name] = await calibrated(
                            subject, shape, seconds, _FIRST_CALLS
                        )
                    runs.append(await measured(subject, shape, calls[subject.name]))
                except BenchmarkError as error:
                    if subject.name not in _PEERS:
                        raise
                    bench.tell(f"{subject.name}: {error}")
                    absent[subject.name] = str(error)
    return [figures for figures in runs if figures["subject"] not in absent]


async def _profile(bench: Bench, node_pid: int, target: Target) -> Json:
    """Return where the node's time goes, if py-spy is there to see it."""
    py_spy = profile.find()
    if py_spy is None:
        bench.tell("no py-spy on the PATH or in PY_SPY: the node is not profiled")
        return {}
    subject = Subject(NODE, target, lambda: pids_of_node(node_pid))
    calls = await calibrated(subject, _PROFILED, profile.SECONDS + 2, _FIRST_CALLS)
    bench.tell("profiling the node")
    shares = await profile.shares(
        py_spy,
        node_pid,
        bench.folder / "profile",
        lambda: h2load.load(target, _PROFILED, calls),
    )
    return {"node_profile_percent": shares}
