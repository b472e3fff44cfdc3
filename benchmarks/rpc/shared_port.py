"""Two nodes on one port beside one node, all on the same two cores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import numpy as np

from benchmarks import h2load, models
from benchmarks.h2load import Shape
from benchmarks.kafka.processor_time import Pids, joined
from benchmarks.measurement import Bench, BenchmarkError, Measured
from benchmarks.predict_wire import Floats
from benchmarks.rpc.rounds import (
    Subject,
    asked,
    medians,
    pids_of_node,
    rounds_of,
    seconds_of,
    take_turns,
)
from benchmarks.rpc.wires import PREDICT
from benchmarks.servers import Node, broker, free_ports, node
from headrace.consumer.settings import Settings
from headrace.publisher.models import ModelPublisher

ONE: Final = "one node"
TWO: Final = "two nodes on one port"
_MODEL: Final = "half_plus_two"
_X: Final[Floats] = np.array([1.0, 2.0, 5.0], np.float32)
_Y: Final[Floats] = np.array([2.5, 3.0, 4.5], np.float32)
# The kernel deals connections to nodes by chance, so there are enough to be dealt evenly.
_SHAPES: Final = (Shape(32, 2), Shape(32, 8))
_FIRST_CALLS: Final = 1000


async def run(bench: Bench) -> Measured:
    """Let one node and two take turns.

    Raises:
        BenchmarkError: nodes of this version cannot share a port.
    """
    if "share_port" not in Settings.model_fields:
        raise BenchmarkError("nodes of this version have no --share-port")
    h2load.find()
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    grpc, http = free_ports(2)
    shared = {"share-port": "", "grpc-port": str(grpc), "http-port": str(http)}
    async with broker() as connection, AsyncExitStack() as stack:
        nodes: dict[str, Node] = {}
        for name, settings in {"alone": {}, "first": shared, "second": shared}.items():
            entering = node(bench, connection, name=name, settings=settings)
            nodes[name] = await stack.enter_async_context(entering)
        async with ModelPublisher(connection, store=str(bench.folder / "store")) as publisher:
            await publisher.publish(_MODEL, 1, folder, wait="fleet")
        subjects = (
            await _subject(bench, ONE, {"alone": nodes.pop("alone")}),
            await _subject(bench, TWO, nodes),
        )
        runs = await take_turns(bench, subjects, _SHAPES, _FIRST_CALLS)
    parameters = {"rounds": rounds_of(bench), "seconds_per_round": seconds_of(bench)}
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))


async def _subject(bench: Bench, name: str, nodes: Mapping[str, Node]) -> Subject:
    request = PREDICT.request_bytes(_MODEL, "x", _X)
    endpoint = next(iter(nodes.values())).grpc_endpoint
    target = await asked(bench.folder, PREDICT, endpoint, request, _Y)

    def pids() -> Pids:
        return joined([pids_of_node(each.pid) for each in nodes.values()])

    return Subject(name, target, pids)
