"""A loader whose every load the test lets succeed or fail, and the servables it hands out."""

from __future__ import annotations

import asyncio

from headrace.consumer.core.calls import Answers, Calls
from headrace.consumer.core.errors import LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.plan import PlannedVersion
from headrace.schemas.records import Batching


class EchoServable:
    """Answers each call with its own payload; can be broken by the test."""

    def __init__(self, planned: PlannedVersion) -> None:
        self.planned = planned
        self.signature_def = b""
        self.is_busy = False
        self.batching: Batching | None = None
        self.replicas = 1
        self.unloaded = asyncio.Event()
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:  # noqa: ARG002 - the protocol's parameter
        """Echo."""
        return Answers(calls.payloads, {})

    @property
    def is_unloaded(self) -> bool:
        """Whether `unload` was called."""
        return self.unloaded.is_set()

    @property
    def is_broken(self) -> bool:
        """Whether `break_down` was called."""
        return self._broken.done()

    async def wait_broken(self) -> Exception:
        """Wait for `break_down`."""
        return await asyncio.shield(self._broken)

    def break_down(self, reason: Exception) -> None:
        """Be beyond repair."""
        self._broken.set_result(reason)

    def rebatch(self, batching: Batching) -> None:
        """Remember the rules."""
        self.batching = batching

    def rescale(self, replicas: int) -> None:
        """Remember how many."""
        self.replicas = replicas

    async def unload(self) -> None:
        """Remember it."""
        self.unloaded.set()


class ScriptedLoader:
    """Loads when the test says so.

    `begun` receives each load as it begins; `finish` and `fail` end the oldest one of a version.
    Versions in `instant` load at once; versions in `failures` fail at once with what is listed.
    """

    def __init__(self) -> None:
        self.begun: asyncio.Queue[ServableId] = asyncio.Queue()
        self.instant = True
        self.failures: dict[ServableId, list[LoadError]] = {}
        self.servables: dict[ServableId, EchoServable] = {}
        self.cancelled: list[ServableId] = []
        self.yields: list[bool] = []
        self.running = 0
        self.most_running = 0
        self._pending: list[tuple[ServableId, asyncio.Future[LoadError | None]]] = []

    def expect(self, planned: PlannedVersion) -> None:
        """Nothing has to be got ready."""

    async def load(
        self,
        planned: PlannedVersion,
        batching: Batching,
        *,
        yields_cpu: bool,
        replicas: int = 1,
    ) -> EchoServable:
        """Load as scripted."""
        servable = ServableId(planned.record.model, planned.record.version)
        self.yields.append(yields_cpu)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.put_nowait(servable)
        try:
            if self.failures.get(servable):
                raise self.failures[servable].pop(0)
            if not self.instant:
                ended: asyncio.Future[LoadError | None] = asyncio.get_running_loop().create_future()
                self._pending.append((servable, ended))
                error = await ended
                if error:
                    raise error
        except asyncio.CancelledError:
            self.cancelled.append(servable)
            raise
        finally:
            self.running -= 1
        loaded = EchoServable(planned)
        loaded.rebatch(batching)
        loaded.rescale(replicas)
        self.servables[servable] = loaded
        return loaded

    @property
    def waiting(self) -> list[ServableId]:
        """The versions whose load waits for the test, longest first."""
        return [servable for servable, ended in self._pending if not ended.done()]

    def finish(self, model: str, version: int) -> None:
        """Let a load succeed."""
        self._end(ServableId(model, version), None)

    def fail(self, model: str, version: int, error: LoadError) -> None:
        """Let a load fail."""
        self._end(ServableId(model, version), error)

    def _end(self, servable: ServableId, error: LoadError | None) -> None:
        next(f for s, f in self._pending if s == servable and not f.done()).set_result(error)
