"""Predict with a tensor of a megabyte, beside an empty `grpc.aio` echo of the same bytes."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks import h2load, models
from benchmarks.children import running
from benchmarks.grpc import ECHO, NODE
from benchmarks.h2load import Shape, Target
from benchmarks.measurement import Bench, Measured
from benchmarks.predict_wire import Floats
from benchmarks.rpc.rounds import (
    Subject,
    asked,
    medians,
    pids_below,
    pids_of_node,
    rounds_of,
    seconds_of,
    take_turns,
)
from benchmarks.rpc.wires import PREDICT
from benchmarks.servers import broker, node
from headrace.publisher.models import ModelPublisher

FLOATS: Final = 262_144
_MODEL: Final = "half_plus_two"
_SHAPES: Final = (Shape(1, 1), Shape(4, 2))
_FIRST_CALLS: Final = 50


async def run(bench: Bench) -> Measured:
    """Let node and echo take turns."""
    h2load.find()
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    x: Floats = np.arange(FLOATS, dtype=np.float32)
    async with (
        broker() as connection,
        node(bench, connection) as serving,
        running("benchmarks.echo_server", [], bench.folder) as echo,
    ):
        async with ModelPublisher(connection, store=str(bench.folder / "store")) as publisher:
            await publisher.publish(_MODEL, 1, folder, wait="any")
        request = PREDICT.request_bytes(_MODEL, "x", x)
        target = await asked(
            bench.folder, PREDICT, serving.grpc_endpoint, request, np.float32(0.5) * x + 2
        )
        echoed = Target((await echo.next_message())["endpoint"], target.request, len(request))
        subjects = (
            Subject(NODE, target, lambda: pids_of_node(serving.pid)),
            Subject(ECHO, echoed, pids_below(echo, "server")),
        )
        runs = await take_turns(bench, subjects, _SHAPES, _FIRST_CALLS)
    parameters = {
        "floats": FLOATS,
        "request_bytes": len(request),
        "answer_bytes": target.answer_bytes,
        "rounds": rounds_of(bench),
        "seconds_per_round": seconds_of(bench),
    }
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))
