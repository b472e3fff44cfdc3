"""What memory remains after a 100 MB model has been loaded and unloaded twenty times by the log.

The node serves a small model all the while, as a node in use does; so TensorFlow is imported.
Beside it: the same in one process, with tf.saved_model.load, del and gc.collect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from grpc import aio

from benchmarks import models, proc
from benchmarks.children import running
from benchmarks.measurement import Bench, Json, Measured
from benchmarks.predict_wire import predict_call, request_bytes
from benchmarks.servers import Node, broker, node
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.models import ModelPublisher

_MODEL: Final = "big"
_RESIDENT: Final = "half_plus_two"
_CALLS: Final = 3
NODE: Final = "Headrace node"
IN_PROCESS: Final = "one process, del and gc.collect"


async def run(bench: Bench) -> Measured:
    """Measure the node, then the plain way."""
    cycles = bench.size(20, 3)
    bench.tell("building a 100 MB model")
    folders = await models.build(bench.folder, _MODEL, _RESIDENT)
    async with broker() as connection, node(bench, connection) as serving:
        runs = await _on_the_node(bench, connection, serving, folders, cycles)
    bench.tell(f"{cycles} cycles in one process")
    async with running(
        "benchmarks.in_process", [str(folders[_MODEL]), str(cycles), str(_CALLS)], bench.folder
    ) as child:
        runs += [await child.next_message() for _ in range(cycles + 1)]
        await child.finish()
    parameters = {
        "cycles": cycles,
        "calls_per_cycle": _CALLS,
        "model_bytes": sum(f.stat().st_size for f in folders[_MODEL].rglob("*") if f.is_file()),
    }
    return Measured(parameters=parameters, runs=runs, medians=_summary(runs))


async def _on_the_node(
    bench: Bench,
    connection: KafkaConnection,
    serving: Node,
    folders: dict[str, Path],
    cycles: int,
) -> list[Json]:
    request = request_bytes(_MODEL, "x", np.array([1.0], np.float32))
    async with (
        ModelPublisher(connection, store=str(bench.folder / "store")) as publisher,
        aio.insecure_channel(serving.grpc_endpoint) as channel,
    ):
        await publisher.publish(_RESIDENT, 1, folders[_RESIDENT], wait="any")
        await predict_call(channel)(
            request_bytes(_RESIDENT, "x", np.array([1.0], np.float32)), timeout=30
        )
        runs = [_figures(NODE, 0, serving.pid, loaded=None)]
        for cycle in range(1, cycles + 1):
            bench.tell(f"cycle {cycle} of {cycles} on the node")
            await publisher.publish(_MODEL, cycle, folders[_MODEL], wait="any")
            for _ in range(_CALLS):
                await predict_call(channel)(request, timeout=30)
            loaded = proc.memory(proc.tree(serving.pid))
            await publisher.retire(_MODEL, cycle, wait="fleet")
            runs.append(_figures(NODE, cycle, serving.pid, loaded=loaded))
    return runs


def _figures(kind: str, cycle: int, pid: int, loaded: proc.Memory | None) -> Json:
    pids = proc.tree(pid)
    after = proc.memory(pids)
    return {
        "kind": kind,
        "cycle": cycle,
        "processes": len(pids),
        "loaded_pss_mb": None if loaded is None else _mb(loaded.pss_bytes),
        "loaded_anonymous_mb": None if loaded is None else _mb(loaded.anonymous_bytes),
        "pss_mb": _mb(after.pss_bytes),
        "anonymous_mb": _mb(after.anonymous_bytes),
    }


def _summary(runs: list[Json]) -> Json:
    """Return where each way began, where it was after the first cycle, and where it ended."""
    found: Json = {}
    for kind in (NODE, IN_PROCESS):
        mine = [run for run in runs if run["kind"] == kind]
        found[kind] = {"largest_loaded_pss_mb": max(run["loaded_pss_mb"] for run in mine[1:])}
        for figure in ("pss_mb", "anonymous_mb"):
            before, last = mine[0][figure], mine[-1][figure]
            found[kind] |= {
                f"{figure}_before": before,
                f"{figure}_after_first": mine[1][figure],
                f"{figure}_after_last": last,
                f"{figure}_growth_percent": round((last / before - 1) * 100, 1),
            }
    return found


def _mb(count: int) -> float:
    return round(count / 1e6, 1)
