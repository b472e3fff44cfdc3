"""The serving core alone, in one process on one thread: no gRPC, no worker, no model.

A call reads its route, borrows the version that the route means, waits in that version's queue,
leaves in a frame, is handed its answer and gives the loan back: what the node does for a call of
the gRPC door between gRPC and the stream to the worker. Only the link is not real. It answers every
frame in the next turn of the event loop, where a worker would have taken its time.

`python -m benchmarks.rpc.core_loop SECONDS PART…` says `{}`, and then each part's figures, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import numpy as np

from benchmarks.measurement import Json
from benchmarks.predict_wire import request_bytes
from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.choice import Serving
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.formats.routes import read_predict_route
from headrace.consumer.workers import frames
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.start import LoadedWorker
from headrace.schemas.records import Batching, ModelVersion, Route

WHOLE: Final = "the whole core"
ROUTE: Final = "route reading alone"
LOAN: Final = "acquire and release alone"
QUEUE: Final = "queue alone"
TIMER: Final = "a timer for the deadline alone"
TURN: Final = "to wait a turn of the event loop alone"
GROUPS: Final = "the whole core, 64 calls at a time"
FRAMES: Final = "frames to and from a worker, packed and read"
CONCURRENCY: Final = 64
_MODEL: Final = "half_plus_two"
_TIMEOUT_SECONDS: Final = 30.0
_LOOK_CALLS: Final = 64

Step = Callable[[], Awaitable[None]]


class _NoProcess:
    """The process at the other end of a link that has none."""

    pid = 0

    def __init__(self) -> None:
        self.stream, self._other = socket.socketpair()
        self.exited: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        """End."""
        if not self.exited.done():
            self.exited.set_result("it is no process")


class AnsweringLink(Link):
    """A link whose other end answers every frame, each call with its own bytes.

    **Concurrency:** event loop only.
    """

    def send(self, message: frames.ToWorker) -> None:
        """Answer in the next turn."""
        if isinstance(message, frames.Run):
            payloads = [payload for calls in message.calls for payload in calls.payloads]
            ran = frames.Ran(message.id, None, payloads, {})
            asyncio.get_running_loop().call_soon(self.on_message, ran)


class _Starter:
    """Starts workers that are none."""

    async def __call__(self, batching: Batching, *, yields_cpu: bool = False) -> LoadedWorker:  # noqa: ARG002 - the protocol's
        """Start one."""
        return LoadedWorker(AnsweringLink(_NoProcess()), frames.Loaded(b"", 0, 0))


class Core:
    """One model with one version, and what a door does with it."""

    def __init__(self, servable: WorkerServable) -> None:
        record = ModelVersion(model=_MODEL, version=1, uri="", digest="", size_bytes=0)
        self._servable = servable
        self._map = ServingMap()
        routes = self._map.model(_MODEL)
        routes.serving[1] = Serving(PlannedVersion(record, 0), servable)
        routes.wanted = frozenset({1})
        self._request = request_bytes(_MODEL, "x", np.array([1.0, 2.0, 5.0], np.float32))
        self._group = [self._request] * CONCURRENCY
        self.parts: dict[str, tuple[Step, int]] = {
            WHOLE: (self._whole, 1),
            ROUTE: (self._route, 1),
            LOAN: (self._loan, 1),
            QUEUE: (self._queue, 1),
            TIMER: (_set_timer, 1),
            TURN: (_wait_turn, 1),
            GROUPS: (self._groups, CONCURRENCY),
            FRAMES: (self._frames, CONCURRENCY),
        }

    async def _whole(self) -> None:
        calls = _calls([self._request])
        with self._map.acquire(read_predict_route(self._request), None) as serving:
            answers = await serving.servable.infer(calls)
        if answers.faults or answers.payloads[0] != self._request:
            raise RuntimeError(f"a call was not answered: {answers}")

    async def _route(self) -> None:
        read_predict_route(self._request)

    async def _loan(self) -> None:
        with self._map.acquire(_ROUTE, None):
            pass

    async def _queue(self) -> None:
        await self._servable.infer(_calls([self._request]))

    async def _groups(self) -> None:
        calls = _calls(self._group)
        with self._map.acquire(read_predict_route(self._request), None) as serving:
            await serving.servable.infer(calls)

    async def _frames(self) -> None:
        frames.encode(frames.Run(1, [_calls(self._group)]))
        answered = frames.encode(frames.Ran(1, None, self._group, {}))
        frames.decode_from_worker(memoryview(answered)[frames.LENGTH_BYTES :])


_ROUTE: Final = Route(_MODEL)


async def _set_timer() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(_TIMEOUT_SECONDS, _nothing).cancel()


async def _wait_turn() -> None:
    loop = asyncio.get_running_loop()
    turned: asyncio.Future[None] = loop.create_future()
    loop.call_soon(turned.set_result, None)
    await turned


def _nothing() -> None:
    pass


def _calls(payloads: Sequence[bytes]) -> Calls:
    deadlines = (time.monotonic() + _TIMEOUT_SECONDS,) * len(payloads)
    return Calls(Encoding.TENSORFLOW_SERVING, payloads, deadlines)


async def measured(step: Step, calls: int, seconds: float) -> Json:
    """Let callers repeat a step for so long, all at once, and return the calls a second."""
    counts = [0] * CONCURRENCY
    until = time.perf_counter() + seconds

    async def repeat(caller: int) -> None:
        while time.perf_counter() < until:
            for _ in range(_LOOK_CALLS):
                await step()
            counts[caller] += _LOOK_CALLS

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for caller in range(CONCURRENCY):
            tasks.create_task(repeat(caller))
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    total = sum(counts) * calls
    return {
        "calls": total,
        "calls_per_second": round(total / took),
        "calls_per_cpu_second": round(total / cpu),
        "microseconds_per_call": round(cpu / total * 1e6, 3),
    }


async def main(seconds: float, parts: Sequence[str]) -> None:
    """Measure the parts in this order."""
    starter = _Starter()
    async with asyncio.TaskGroup() as tasks:
        worker = await starter(Batching())
        servable = WorkerServable(
            ServableId(_MODEL, 1), worker, starter, Batching(), WorkerOptions()
        )
        servable.begin(tasks)
        core = Core(servable)
        print(json.dumps({}), flush=True)
        for part in parts:
            found = await measured(*core.parts[part], seconds)
            print(json.dumps({"part": part, **found}), flush=True)
        await servable.unload()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2:]))
