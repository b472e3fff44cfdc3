"""A version whose workers are played by the test: they echo, and die of a killer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from headrace.consumer.core.calls import Answers, Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.workers import frames
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.start import LoadedWorker
from headrace.schemas.records import Batching
from tests.fakes.worker import FakeWorker, payloads

KILLER = b"killer"
OPTIONS = WorkerOptions(max_deaths=3, deaths_window_seconds=60.0)


class Workers:
    """Starts workers that echo, and die over a frame with a killer in it.

    `failures` are what starting ends in, one after the other, before it works again. While `gate`
    is not set nobody starts. `alive` are those that live; `began_with` and `yields` are what each
    start was given, `rebatched` what workers were told later. `hold` keeps answers back until
    `release`.

    **Concurrency:** event loop only.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.failures: list[LoadError] = []
        self.started = 0
        self.alive: list[FakeWorker] = []
        self.yields: list[bool] = []
        self.began_with: list[Batching] = []
        self.rebatched: list[Batching] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._moved = asyncio.Event()
        self._held = 0
        self._tasks = tasks

    async def __call__(
        self,
        batching: Batching,
        *,
        yields_cpu: bool = False,
    ) -> LoadedWorker:
        """Start one."""
        self.began_with.append(batching)
        self._tell()
        await self.gate.wait()
        self.yields.append(yields_cpu)
        if self.failures:
            raise self.failures.pop(0)
        self.started += 1
        worker = await FakeWorker.connected()
        self.alive.append(worker)
        self._tasks.create_task(self._work(worker))
        self._tell()
        return LoadedWorker(worker.link, frames.Loaded(b"", 0, 0))

    def hold(self) -> None:
        """Let frames arrive and not be answered."""
        self._may_answer.clear()

    def release(self) -> None:
        """Let them be answered."""
        self._may_answer.set()

    async def wait_alive(self, count: int) -> None:
        """Return when so many workers live."""
        while len(self.alive) != count:
            await self._moved.wait()

    async def wait_begun(self, count: int) -> None:
        """Return when so many starts have begun."""
        while len(self.began_with) != count:
            await self._moved.wait()

    async def wait_held(self, count: int) -> None:
        """Return when so many workers have a frame that is held."""
        while self._held != count:
            await self._moved.wait()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _work(self, worker: FakeWorker) -> None:
        try:
            while True:
                length = await worker.reader.readexactly(frames.LENGTH_BYTES)
                body = await worker.reader.readexactly(frames.body_bytes_of(length))
                run = frames.decode_to_worker(body)
                if isinstance(run, frames.Rebatch):
                    self.rebatched.append(run.batching)
                    continue
                if isinstance(run, frames.Cancel):
                    continue
                assert isinstance(run, frames.Run)
                if KILLER in payloads(run):
                    return
                self._held += 1
                self._tell()
                await self._may_answer.wait()
                self._held -= 1
                worker.answer(run)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            await worker.die()
            self.alive.remove(worker)
            self._tell()


@asynccontextmanager
async def serving(
    options: WorkerOptions = OPTIONS, *, replicas: int = 1
) -> AsyncGenerator[tuple[WorkerServable, Workers], None]:
    """Serve with such workers."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        workers = Workers(tasks)
        first = await workers(Batching())
        name = ServableId("m", 1)
        servable = WorkerServable(name, first, workers, Batching(), options, replicas=replicas)
        servable.begin(tasks)
        yield servable, workers
        await servable.unload()


async def ask(servable: WorkerServable, payloads: Sequence[bytes]) -> Answers:
    """Ask with plenty of time."""
    return await servable.infer(Calls(Encoding.AVRO, payloads, [float("inf")] * len(payloads)))


def codes(answers: Answers) -> list[Code]:
    """Return how each call went."""
    faults = answers.faults
    return [faults[n].code if n in faults else Code.OK for n in range(len(answers.payloads))]
