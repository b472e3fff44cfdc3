"""One version's life on this node, from START to END, read from top to bottom in `live`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.choice import Serving
from headrace.consumer.core.errors import LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.servable import Loader, Servable
from headrace.consumer.core.slots import LoadSlots
from headrace.schemas.records import ModelConfig, ServableState, ServableStatus

log = structlog.get_logger()

IsServing = Callable[[], bool]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeOptions:
    """How patient a version's life is. Units: seconds."""

    load_attempts: int = 4
    first_backoff_seconds: float = 1.0
    max_backoff_seconds: float = 30.0
    drain_seconds: float = 30.0


class Harness:
    """The state machine of one version: START → LOADING → AVAILABLE → UNLOADING → END.

    The manager creates it, runs `live` in a task, and tells it to `stop`; it tells the manager of
    every transition through `on_change`, after the transition is true for lookups.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        planned: PlannedVersion,
        config: ModelConfig,
        options: LifeOptions,
        on_change: Callable[[Harness], None],
    ) -> None:
        self.planned = planned
        self.id = ServableId(planned.record.model, planned.record.version)
        self.state = ServableState.START
        self.error: str | None = None
        self.attempt = 1
        self.has_failed = False
        self.is_waiting = False
        self.serving: Serving | None = None
        self._config = config
        self._options = options
        self._on_change = on_change
        self._may_load = asyncio.Event()
        self._stop = asyncio.Event()
        self._retry_now = asyncio.Event()

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    @property
    def status(self) -> ServableStatus:
        """The present state as the status topic carries it."""
        return ServableStatus(
            model=self.id.model,
            version=self.id.version,
            state=self.state,
            control_offset=self.planned.control_offset,
            attempt=self.attempt,
            error=self.error,
        )

    def load(self) -> None:
        """Begin to load as soon as there is a slot. Returns at once."""
        self._may_load.set()

    def stop(self) -> None:
        """Leave: end a load, drain and unload what serves. Returns at once."""
        self._stop.set()

    def renew(self, planned: PlannedVersion) -> None:
        """Take over a newer event for the same bytes; a waiting retry starts at once."""
        self.planned = planned
        if self.serving:
            self.serving.planned = planned
        self.attempt = 1
        self._retry_now.set()
        self._on_change(self)

    def configure(self, config: ModelConfig) -> None:
        """Batch by these rules and with so many workers, now and after a later load."""
        before, self._config = self._config, config
        if self.serving:
            self._adapt(self.serving.servable, before)

    async def live(self, loader: Loader, slots: LoadSlots, is_serving: IsServing) -> None:
        """Go through the whole life; returns at END.

        Cancellation: a load is ended and what was loaded is unloaded without draining.
        """
        loader.expect(self.planned)
        await self._first(self._may_load.wait())
        servable = await self._load(loader, slots, is_serving)
        if servable is None:
            self._become(ServableState.END, self.error)
            return
        self.has_failed = False
        if self.is_leaving:
            # Told to stop in the moment of being ready. Serving for a moment, it would take the
            # place of other bytes with its number in the serving map, and leave it empty.
            await servable.unload()
            self._become(ServableState.END)
            return
        self.serving = Serving(self.planned, servable)
        try:
            self._become(ServableState.AVAILABLE)
            reason = await self._until_stopped_or_broken(servable)
            self.has_failed = reason is not None
            self._become(ServableState.UNLOADING, reason)
            await self._drain(self.serving)
        finally:
            await servable.unload()
        self._become(ServableState.END, reason)

    async def _load(
        self, loader: Loader, slots: LoadSlots, is_serving: IsServing
    ) -> Servable | None:
        """Try until loaded (the servable), told to stop, or out of attempts (None)."""
        delays = backoff(self._options.first_backoff_seconds, self._options.max_backoff_seconds)
        while not self.is_leaving:
            servable, failure = await self._attempt(loader, slots, is_serving)
            if servable is not None or failure is None:
                return servable
            self.has_failed = True
            self.error = str(failure)
            is_last = self.attempt >= self._options.load_attempts
            if is_last or not (isinstance(failure, LoadError) and failure.retriable):
                return None
            delay = next(delays)
            log.warning(
                "version.load_retried",
                model=self.id.model,
                version=self.id.version,
                attempt=self.attempt,
                error=self.error,
                delay_seconds=round(delay, 2),
            )
            await self._pause(delay)
            self.attempt += 1
        self.error = None
        self.has_failed = False
        return None

    async def _attempt(
        self, loader: Loader, slots: LoadSlots, is_serving: IsServing
    ) -> tuple[Servable | None, Exception | None]:
        """Load once: a servable, a failure, or neither when told to stop meanwhile."""

        async def load() -> Servable:
            async with slots:
                if self.state is ServableState.START:
                    self._become(ServableState.LOADING)
                config = self._config
                servable = await loader.load(
                    self.planned,
                    config.batching,
                    yields_cpu=is_serving(),
                    replicas=config.replicas,
                )
                self._adapt(servable, config)
                return servable

        try:
            return await self._first(load()), None
        except LoadError as error:
            return None, error
        except Exception as error:  # door: whatever one event makes a loader raise ends it alone
            log.exception("version.load_crashed", model=self.id.model, version=self.id.version)
            return None, error

    def _adapt(self, servable: Servable, before: ModelConfig) -> None:
        """Tell a servable what its configuration has become."""
        if self._config.batching != before.batching:
            servable.rebatch(self._config.batching)
        if self._config.replicas != before.replicas:
            servable.rescale(self._config.replicas)

    async def _pause(self, delay_seconds: float) -> None:
        """Wait before the next attempt, unless stopped or renewed first."""
        self.is_waiting = True
        self._on_change(self)
        self._retry_now.clear()
        try:
            async with asyncio.timeout(delay_seconds):
                await self._first(self._retry_now.wait())
        except TimeoutError:
            pass
        finally:
            self.is_waiting = False

    async def _until_stopped_or_broken(self, servable: Servable) -> str | None:
        """Wait; return None when told to stop, or why the servable is beyond repair."""
        broken = await self._first(servable.wait_broken())
        return None if broken is None else str(broken)

    async def _first(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`, or None when told to stop before it was there."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
        return None if working.cancelled() else working.result()

    async def _drain(self, serving: Serving) -> None:
        """Wait for the loans, as long as the options allow."""
        try:
            async with asyncio.timeout(self._options.drain_seconds):
                await serving.wait_idle()
        except TimeoutError:
            log.warning(
                "version.drain_timed_out",
                model=self.id.model,
                version=self.id.version,
                drain_seconds=self._options.drain_seconds,
            )

    def _become(self, state: ServableState, error: str | None = None) -> None:
        self.state = state
        self.error = error
        self._on_change(self)
