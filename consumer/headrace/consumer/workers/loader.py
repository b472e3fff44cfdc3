"""From a planned version to a servable: fetch and verify, fork, load, warm."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.errors import LoadError, LoadTimedOut
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.workers import frames
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.start import LoadedWorker, start_worker
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching, ModelVersion

log = structlog.get_logger()


class WorkerLoader:
    """Loads versions into worker processes; implements `core.servable.Loader`.

    An async context manager that owns the tasks of its servables: an unexpected error in one of
    them cancels the task that entered the context, and leaving it ends every worker.

    **Concurrency:** event loop only; any number of loads at once.
    """

    def __init__(
        self, cache: ArtifactCache, zygotes: Zygotes, options: WorkerOptions | None = None
    ) -> None:
        self._cache = cache
        self._zygotes = zygotes
        self._options = options or WorkerOptions()
        self._threads = self._options.intra_op_threads or len(os.sched_getaffinity(0))
        self._tasks = asyncio.TaskGroup()
        self._lives: set[asyncio.Task[None]] = set()
        self._expected: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for life in self._lives:
            life.cancel()
        await self._tasks.__aexit__(kind, error, traceback)

    def expect(self, planned: PlannedVersion) -> None:
        """Start the zygote of a platform that is wanted for the first time."""
        platform = planned.record.platform
        if platform not in self._expected:
            self._expected.add(platform)
            self._tasks.create_task(self._begin(platform), name=f"zygote {platform}")

    async def _begin(self, platform: str) -> None:
        # What is wrong is told by the load that follows.
        with contextlib.suppress(LoadError, OSError):
            await self._zygotes.start(platform)

    async def load(
        self,
        planned: PlannedVersion,
        batching: Batching,
        *,
        yields_cpu: bool,
        replicas: int = 1,
    ) -> WorkerServable:
        """Fetch, verify, load and warm one version; see `core.servable.Loader.load`."""
        record = planned.record
        began = asyncio.get_running_loop().time()
        path: Path | None = None
        limit = asyncio.timeout(self._options.load_timeout_seconds)
        try:
            async with limit:
                path = await self._cache.fetch(record.uri, record.digest, record.size_bytes)
                fetched = asyncio.get_running_loop().time()
                start = partial(self._start, record, path)
                worker = await start(batching, yields_cpu=yields_cpu)
        except BaseException as error:
            if path is not None:
                self._cache.release(record.digest)
            if limit.expired() and isinstance(error, TimeoutError):
                doing = "fetching its artefact" if path is None else "loading in its worker"
                raise LoadTimedOut(
                    f"{record.model} version {record.version} was still {doing} after "
                    f"{self._options.load_timeout_seconds:g} s"
                ) from None
            raise
        log.info(
            "version.loaded",
            model=record.model,
            version=record.version,
            pid=worker.link.process.pid,
            fetch_seconds=round(fetched - began, 3),
            load_seconds=round(asyncio.get_running_loop().time() - fetched, 3),
            warm_up_requests=worker.loaded.warmed,
            warm_up_skipped=worker.loaded.skipped,
        )
        name = ServableId(record.model, record.version)
        servable = WorkerServable(name, worker, start, batching, self._options, replicas=replicas)
        life = servable.begin(self._tasks)
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        # A callback and not a `finally` of the task: a task cancelled early never runs at all.
        life.add_done_callback(lambda _life: self._cache.release(record.digest))
        return servable

    async def _start(
        self, record: ModelVersion, path: Path, batching: Batching, *, yields_cpu: bool
    ) -> LoadedWorker:
        """Start a worker for a version whose artefact is on this machine."""
        order = frames.Load(
            platform=record.platform,
            path=str(path),
            model=record.model,
            version=record.version,
            intra_op_threads=self._threads,
            inter_op_threads=self._threads,
            batching=batching,
            yields_cpu=yields_cpu,
        )
        return await start_worker(self._zygotes, order)
