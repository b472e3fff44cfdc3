"""A servable without a worker: half plus two, in the real encodings, on the node's event loop.

It keeps the contract of `Servable` (deadlines, a bounded queue, cancellation, unloading), which one
suite checks on it and on the real one; and the test decides when and how it answers.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from headrace.consumer.core.calls import Answers, Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadError, QueueFull
from headrace.consumer.core.plan import PlannedVersion
from headrace.schemas.records import Batching, ModelVersion
from tests.fakes import half_plus_two

_UNLOADED = Fault(Code.UNAVAILABLE, message="the version was unloaded")
_EXPIRED = Fault(Code.DEADLINE_EXCEEDED, message="the deadline passed before the answer was there")


def planned_version(model: str, version: int, *, control_offset: int = 0) -> PlannedVersion:
    """Return a version as the control log would bring it."""
    digest = f"sha256:{version:064x}"
    record = ModelVersion(
        model=model, version=version, uri=f"/models/{model}", digest=digest, size_bytes=1
    )
    return PlannedVersion(record, control_offset)


class FakeServable:
    """Half plus two. By default it answers at once.

    `calls` and `deadlines_seconds` are of all calls that were inside, `sizes` of each `infer`.
    `hold` keeps calls inside until `release`; `wait_inside` waits until so many are inside.
    `answer_all` makes every call get that answer, `raise_all` makes `infer` raise.

    **Concurrency:** event loop only.
    """

    def __init__(self, planned: PlannedVersion, *, max_inside: int = 1_000_000) -> None:
        self.planned = planned
        self.calls: list[bytes] = []
        self.deadlines_seconds: list[float] = []
        self.sizes: list[int] = []
        self.batching = Batching()
        self.replicas = 1
        self.is_unloaded = False
        self.is_busy = False
        self.cancelled = 0
        self._max_inside = max_inside
        self._inside = 0
        self._changed = asyncio.Condition()
        self._is_held = False
        self._fixed: bytes | Fault | None = None
        self._raised: Exception | None = None
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    @property
    def signature_def(self) -> bytes:
        """The model's signatures, encoded."""
        return half_plus_two.signatures().SerializeToString(deterministic=True)

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:
        """Answer every call, once it is let out."""
        if self._raised is not None:
            raise self._raised
        count = len(calls.payloads)
        async with self._changed:
            if not may_wait and self._inside + count > self._max_inside:
                raise QueueFull(f"the queue of {self.planned.record.model} is full")
            await self._changed.wait_for(lambda: self._inside + count <= self._max_inside)
            self.calls.extend(calls.payloads)
            self.deadlines_seconds.extend(calls.deadlines_seconds)
            self.sizes.append(count)
            self._inside += count
            self._changed.notify_all()
            try:
                await self._wait_let_out(max(calls.deadlines_seconds))
            except asyncio.CancelledError:
                self.cancelled += count
                raise
            finally:
                self._inside -= count
                self._changed.notify_all()
        return self._answers(calls)

    async def wait_broken(self) -> Exception:
        """Wait for `break_down`."""
        return await asyncio.shield(self._broken)

    def rebatch(self, batching: Batching) -> None:
        """Remember the rules."""
        self.batching = batching

    def rescale(self, replicas: int) -> None:
        """Remember how many."""
        self.replicas = replicas

    async def unload(self) -> None:
        """Answer UNAVAILABLE to what is inside, and to all that comes."""
        async with self._changed:
            self.is_unloaded = True
            self._changed.notify_all()

    def break_down(self, reason: Exception) -> None:
        """Be beyond repair."""
        self._broken.set_result(reason)

    def hold(self) -> None:
        """Keep calls inside from now on."""
        self._is_held = True

    async def release(self) -> None:
        """Let everything out, and keep nothing any more."""
        async with self._changed:
            self._is_held = False
            self._changed.notify_all()

    async def wait_inside(self, count: int) -> None:
        """Return when exactly `count` calls are inside."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._inside == count)

    def answer_all(self, answer: bytes | Fault) -> None:
        """Give every call this answer from now on."""
        self._fixed = answer

    def raise_all(self, error: Exception) -> None:
        """Let `infer` raise this from now on."""
        self._raised = error

    async def _wait_let_out(self, until_seconds: float) -> None:
        """Wait to be released or unloaded, or for the deadline; the condition is locked."""
        try:
            async with asyncio.timeout_at(until_seconds):
                await self._changed.wait_for(lambda: self.is_unloaded or not self._is_held)
        except TimeoutError:
            pass  # `_answer` sees the same deadline.

    def _answers(self, calls: Calls) -> Answers:
        outcomes = [
            self._answer(calls.encoding, payload, deadline)
            for payload, deadline in zip(calls.payloads, calls.deadlines_seconds, strict=True)
        ]
        return Answers(
            [b"" if isinstance(outcome, Fault) else outcome for outcome in outcomes],
            {n: outcome for n, outcome in enumerate(outcomes) if isinstance(outcome, Fault)},
        )

    def _answer(self, encoding: Encoding, payload: bytes, deadline_seconds: float) -> bytes | Fault:
        if self._fixed is not None:
            return self._fixed
        if self.is_unloaded:
            return _UNLOADED
        if deadline_seconds <= time.monotonic():
            return _EXPIRED
        version = self.planned.record.version
        match encoding:
            case Encoding.AVRO:
                return half_plus_two.answer_avro(payload, version)
            case Encoding.OPEN_INFERENCE:
                return half_plus_two.answer_infer(payload, version)
            case _:
                return half_plus_two.answer_predict(payload, version)


@dataclass
class FakeLoader:
    """Hands out fake servables, or fails as it is told.

    `failures` has the error that the loading of a version number ends in.

    **Concurrency:** event loop only.
    """

    failures: dict[int, LoadError] = field(default_factory=dict[int, LoadError])
    loaded: list[FakeServable] = field(default_factory=list[FakeServable])

    def expect(self, planned: PlannedVersion) -> None:
        """Nothing has to be got ready."""

    async def load(
        self,
        planned: PlannedVersion,
        batching: Batching,
        *,
        yields_cpu: bool,  # noqa: ARG002 - the protocol's parameter
        replicas: int = 1,
    ) -> FakeServable:
        """Load at once."""
        error = self.failures.get(planned.record.version)
        if error is not None:
            raise error
        servable = FakeServable(planned)
        servable.rebatch(batching)
        servable.rescale(replicas)
        self.loaded.append(servable)
        return servable
