"""A node under `caller`: its models, its peak, and rounds at a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import models
from benchmarks.children import running
from benchmarks.kafka.processor_time import ELSEWHERE, ProcessorTime
from benchmarks.measurement import Bench, BenchmarkError, Json
from benchmarks.predict_wire import Floats
from benchmarks.rpc.caller import Order
from benchmarks.rpc.http2 import OK
from benchmarks.rpc.rounds import pids_of_node
from benchmarks.rpc.wires import PREDICT, ask_and_check
from benchmarks.servers import Node
from headrace.publisher.models import ModelPublisher

SETTLE_SECONDS: Final = 1.0
PEAK_CALLS: Final = 256
"""How many calls are open at once when the peak is measured."""


@dataclass(frozen=True, slots=True)
class Stand:
    """A node and what it is asked."""

    bench: Bench
    serving: Node
    order: Order

    async def peak(self, connections: int) -> Json:
        """Return the figures of a round in which somebody always waits for an answer.

        Raises:
            BenchmarkError: not every call was answered.
        """
        found = await self.round(
            replace(self.order, connections=connections, in_flight=PEAK_CALLS, timeout_seconds=30.0)
        )
        if found["statuses"].keys() != {OK}:
            raise BenchmarkError(f"calls failed without overload: {found['statuses']}")
        return found

    async def at_rate(self, connections: int, rate: float, seed: int) -> Json:
        """Return the figures of a round in which calls come at a rate, whatever becomes of them."""
        order = replace(self.order, connections=connections, rate=rate, seed=seed)
        return {"rate": round(rate)} | await self.round(order)

    async def round(self, order: Order) -> Json:
        """Let a caller carry out an order, and return its figures and who used the processors."""
        self.serving.child.check_running()
        arguments = [order.to_json()]
        async with running("benchmarks.rpc.caller", arguments, self.bench.folder) as caller:
            await caller.next_message()
            clock = ProcessorTime({**pids_of_node(self.serving.pid), "client": [caller.pid]})
            found = await caller.next_message()
            used = clock.used()
            await caller.finish()
        calls = sum(found["statuses"].values())
        seconds = order.seconds + order.settle_seconds
        elsewhere = round(100 * used.pop(ELSEWHERE) / seconds)
        cpu = {f"{part}_cpu_percent": round(100 * used[part] / seconds) for part in used}
        return {"calls": calls, **found, **cpu, "cpu_elsewhere_percent": elsewhere}


async def publish(
    bench: Bench, publisher: ModelPublisher, source: Path, names: Sequence[str]
) -> None:
    """Publish a model under several names, each with bytes of its own, and wait for each."""
    for name in names:
        bench.tell(f"publishing {name}")
        variant = models.variant(source, int(name.rpartition("_")[2]))
        await publisher.publish(name, 1, variant, wait="any")


async def requests(
    folder: Path, serving: Node, names: Sequence[str], x: Floats, y: Floats
) -> list[str]:
    """Ask each model once, check its answer, and return the files of the requests."""
    files: list[str] = []
    for name in names:
        request = PREDICT.request_bytes(name, "x", x)
        await ask_and_check(PREDICT, serving.grpc_endpoint, request, y)
        path = folder / f"{name}.request"
        path.write_bytes(request)
        files.append(str(path))
    return files


def order_of(
    serving: Node, files: Sequence[str], *, seconds: float, timeout_seconds: float
) -> Order:
    """Return what all rounds against a node have in common."""
    return Order(
        endpoint=serving.grpc_endpoint,
        method=PREDICT.method,
        requests=files,
        connections=8,
        seconds=seconds,
        settle_seconds=SETTLE_SECONDS,
        timeout_seconds=timeout_seconds,
    )
