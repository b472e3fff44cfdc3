"""How a version comes by further workers: one at a time, and within the time a load may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from headrace.consumer.core.errors import LoadTimedOut
from headrace.consumer.workers import frames
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.start import LoadedWorker
from headrace.schemas.records import Batching


class StartWorker(Protocol):
    """What makes a worker that has loaded the version."""

    async def __call__(self, batching: Batching, *, yields_cpu: bool) -> LoadedWorker:
        """Return it, loaded; on few cores when others are to go on meanwhile.

        Raises:
            LoadError: the version cannot be loaded.

        Cancellation: no worker is left behind.
        """
        ...


class Recruiter:
    """Starts workers of one version; `batching` is what they begin with.

    **Concurrency:** event loop only.
    """

    def __init__(self, start: StartWorker, batching: Batching, limit_seconds: float) -> None:
        self._start = start
        self.batching = batching
        self._limit_seconds = limit_seconds
        # One at a time: a load takes cores from those that serve.
        self._turn = asyncio.Lock()

    async def hire(self, has_workers: Callable[[], bool]) -> Link:
        """Return a worker that has loaded; it loads on few cores if others serve meanwhile.

        Raises:
            LoadError: it did not load.

        Cancellation: no worker is left behind.
        """
        async with self._turn:
            batching = self.batching
            try:
                async with asyncio.timeout(self._limit_seconds):
                    worker = await self._start(batching, yields_cpu=has_workers())
            except TimeoutError:
                raise LoadTimedOut(
                    f"a worker was still loading after {self._limit_seconds:g} s"
                ) from None
        if self.batching != batching:
            worker.link.send(frames.Rebatch(self.batching))
        return worker.link
