"""The node's side of the zygotes: start them, and have them fork workers.

Imports no platform. A zygote that dies takes its workers along (they die with their parent); the
next fork starts another, and the servables replace their workers in the normal way.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import structlog

from headrace.consumer.core.errors import LoadCrashed, LoadTimedOut
from headrace.consumer.platforms.installed import installed_platforms, require_platform
from headrace.consumer.workers.zygote_life import WorkerProcess, ZygoteLife

log = structlog.get_logger()


class Zygote:
    """One platform's zygote process.

    Entering the context starts it and does not wait for the import; the first `fork` does.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        platform: str,
        *,
        start_timeout_seconds: float = 120.0,
        fork_timeout_seconds: float = 30.0,
    ) -> None:
        self.platform = platform
        self._start_timeout = start_timeout_seconds
        self._fork_timeout = fork_timeout_seconds
        self._life: ZygoteLife | None = None
        self._starting = asyncio.Lock()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._running()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closed = True
        if self._life is not None:
            await self._life.stop()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._life.process.pid if self._life and not self._life.is_over else None

    async def fork(self) -> WorkerProcess:
        """Return a fresh worker that has loaded nothing.

        Raises:
            ModelRejected: the platform cannot be imported here.
            LoadTimedOut: the import, or the fork, takes too long.
            LoadCrashed: the zygote died meanwhile.

        Cancellation: a worker forked after all is gone when the cancelled call returns.
        """
        life = await self._running()
        try:
            async with asyncio.timeout(self._start_timeout):
                await asyncio.shield(life.ready)
        except TimeoutError:
            await life.stop()
            raise LoadTimedOut(
                f"platform {self.platform} was not imported within {self._start_timeout:g} s"
            ) from None
        try:
            async with asyncio.timeout(self._fork_timeout):
                return await life.fork()
        except TimeoutError:
            await life.stop()
            raise LoadTimedOut(
                f"the zygote of platform {self.platform} did not fork within "
                f"{self._fork_timeout:g} s"
            ) from None

    async def _running(self) -> ZygoteLife:
        """Return the living process, started if need be."""
        async with self._starting:
            if self._is_closed:
                raise LoadCrashed(f"the zygote of platform {self.platform} is closed")
            if self._life is None or self._life.is_over:
                if self._life is not None:
                    await self._life.stop()
                self._life = await ZygoteLife.start(self.platform)
            return self._life


class Zygotes:
    """One zygote a platform, started when it is first asked for.

    **Concurrency:** event loop only.
    """

    def __init__(self) -> None:
        self._zygotes: dict[str, Zygote] = {}
        self._stack = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        for entry in installed_platforms().refused:
            log.warning("platform.refused", platform=entry.name, entry_point=entry.value)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def fork(self, platform: str) -> WorkerProcess:
        """Return a fresh worker of a platform; see `Zygote.fork`.

        Raises:
            ModelRejected: also when no platform has that name.
        """
        return await (await self._zygote(platform)).fork()

    async def start(self, platform: str) -> None:
        """Begin to import a platform, so that the first `fork` has less to wait for.

        Raises:
            ModelRejected: no platform has that name.
            LoadCrashed: the zygotes are closed.
        """
        await self._zygote(platform)

    def pid(self, platform: str) -> int | None:
        """Return the process id of a platform's zygote, or None when it does not run."""
        zygote = self._zygotes.get(platform)
        return zygote.pid if zygote else None

    async def _zygote(self, platform: str) -> Zygote:
        require_platform(platform)
        async with self._opening:
            if platform not in self._zygotes:
                zygote = Zygote(platform)
                self._zygotes[platform] = await self._stack.enter_async_context(zygote)
            return self._zygotes[platform]
