"""Mirrors requests: asks a second version what a first one has answered, and has them compared.

All of it happens behind the caller's back and gives way: what there is no room for, or no time,
is left out and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from headrace.consumer.core.calls import Answers, Calls, Fault, refused
from headrace.consumer.core.choice import Choice, Mirrored
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RequestError
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.shadow.comparer import Comparer, ComparisonFailed
from headrace.consumer.shadow.lane import Lane, LaneOptions, Sample
from headrace.consumer.shadow.messages import Job, Outcome, Pair
from headrace.consumer.shadow.results import Results
from headrace.schemas.codec import encode
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison

log = structlog.get_logger()

_PAUSE_SECONDS: Final = 0.01
_FLUSH_SECONDS: Final = 1.0
_REFUSAL_INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowOptions:
    """How requests are mirrored: in whose name, how long a shadow may take, how much may wait."""

    node: str
    timeout_seconds: float = 10.0
    lane: LaneOptions = field(default_factory=LaneOptions)


class _Lane(Lane):
    """A name's lane, the task that works on it, and when it last told that nobody can be asked."""

    def __init__(self, model: str, options: LaneOptions) -> None:
        super().__init__(options)
        self.model = model
        self.task: asyncio.Task[None] | None = None
        self.refused_at = float("-inf")


class Shadowing:
    """A `Mirror`: every name whose requests are mirrored has a lane, and a task while it has work.

    A lane has one question out at a time: what was drawn meanwhile is asked with the next. It waits
    while calls queue for the version that answers callers, or for the one that is to be asked.

    **Concurrency:** event loop only. `offer` mirrors nothing outside of `running`.
    """

    def __init__(self, results: Results, options: ShadowOptions) -> None:
        self._results = results
        self._options = options
        self._comparer = Comparer()
        self._lanes: dict[str, _Lane] = {}
        self._map: ServingMap | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self, serving_map: ServingMap) -> AsyncGenerator[None, None]:
        """Mirror to the versions of this map; on leaving, what waits is dropped.

        The doors are to be closed by then, and the versions are to be there still.
        """
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._results.send_always(), name="shadow topic")
            self._map, self._tasks = serving_map, tasks
            try:
                yield
            finally:
                self._tasks = None
                working = [lane.task for lane in self._lanes.values() if lane.task is not None]
                for task in working:
                    task.cancel()
                await self._comparer.close()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FLUSH_SECONDS):
                        await self._results.flush()
                sending.cancel()

    def offer(self, choice: Choice, calls: Calls, answers: Answers, seconds: float) -> None:
        """Draw some of the calls, to be mirrored later; see `core.choice.Mirror`."""
        mirrored = choice.mirrored
        if self._tasks is None or mirrored is None:
            return
        try:
            lane = self._lanes.get(mirrored.model)
            if lane is None:
                lane = self._lanes[mirrored.model] = _Lane(mirrored.model, self._options.lane)
            lane.draw(choice, calls, answers, seconds, mirrored.shadow.fraction)
            if lane.task is None and lane:
                name = f"shadow of {mirrored.model}"
                lane.task = self._tasks.create_task(self._work(lane), name=name)
        except Exception:  # door: the caller's answer is on its way, and must not be lost here
            log.exception("shadow.mirror_failed", model=mirrored.model)

    async def _work(self, lane: _Lane) -> None:
        """Mirror what is in a lane, until it is empty."""
        try:
            while lane:
                mirrored = lane.first.choice.mirrored
                assert mirrored is not None
                await self._mirror_next(lane, mirrored)
        except Exception:  # door: nothing that goes wrong with a copy may end the node
            log.exception("shadow.mirror_failed", model=lane.model)
            lane.clear()
        finally:
            lane.task = None

    async def _mirror_next(self, lane: _Lane, mirrored: Mirrored) -> None:
        """Mirror what comes first in a lane, or wait a little while there is no room for it."""
        assert self._map is not None
        choice = lane.first.choice
        try:
            handle = self._map.acquire(self._map.route_of(mirrored.model, mirrored.shadow.target))
        except (RequestError, ValueError) as error:
            await self._refuse(lane, mirrored, error)
            return
        with handle as target:
            if target.serving is choice.serving:
                lane.take()  # Asked again, the version would say the same.
                return
            is_busy = choice.servable.is_busy or target.servable.is_busy
            job = None if is_busy else await self._ask(lane, mirrored, target)
        if job is None:
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            await self._publish(job)

    async def _ask(self, lane: _Lane, mirrored: Mirrored, target: Choice) -> Job:
        """Ask the target what comes first in a lane; return what is to be compared."""
        samples = lane.take()
        payloads = [payload for sample in samples for payload in sample.payloads]
        begun_at = time.monotonic()
        deadlines_seconds = [begun_at + self._options.timeout_seconds] * len(payloads)
        calls = Calls(samples[0].encoding, payloads, deadlines_seconds)
        try:
            answers = await target.servable.infer(calls)
        except RequestError as error:
            answers = refused(Fault(error.code, str(error)), len(payloads))
        micros = _micros(time.monotonic() - begun_at)
        outcomes = [
            _outcome(answers.faults.get(place, payload), micros)
            for place, payload in enumerate(answers.payloads)
        ]
        return self._job(lane, mirrored, samples, _origin(target), outcomes)

    async def _refuse(
        self, lane: _Lane, mirrored: Mirrored, error: RequestError | ValueError
    ) -> None:
        """Say, once in a while, that there is nobody to ask; all that waits is let go."""
        now, first = time.monotonic(), lane.first
        if now - lane.refused_at < _REFUSAL_INTERVAL_SECONDS:
            lane.clear()
            return
        lane.refused_at = now
        samples = [_head_of(first)]
        lane.clear()
        lane.missed -= 1
        code = error.code if isinstance(error, RequestError) else Code.FAILED_PRECONDITION
        target = Answered(model=mirrored.shadow.target, version=0)
        outcome = Outcome(b"", 0, code.name, str(error))
        await self._publish(self._job(lane, mirrored, samples, target, [outcome]))

    def _job(
        self,
        lane: _Lane,
        mirrored: Mirrored,
        samples: Sequence[Sample],
        shadow: Answered,
        outcomes: Sequence[Outcome],
    ) -> Job:
        primaries = [
            _outcome(answer, _micros(sample.seconds))
            for sample in samples
            for answer in sample.answers
        ]
        return Job(
            model=mirrored.model,
            node=self._options.node,
            at_ms=time.time_ns() // 1_000_000,
            encoding=samples[0].encoding,
            tolerances=dict(mirrored.shadow.tolerances),
            primary=_origin(samples[0].choice),
            shadow=shadow,
            missed=lane.take_missed(),
            pairs=[Pair(*pair) for pair in zip(primaries, outcomes, strict=True)],
        )

    async def _publish(self, job: Job) -> None:
        """Have a job done, and publish what comes of it."""
        try:
            records = await self._comparer.compare(job)
        except ComparisonFailed as error:
            records = [encode(_undone(job, str(error)))]
        for record in records:
            self._results.put(job.model.encode(), record)


def _head_of(sample: Sample) -> Sample:
    return sample._replace(payloads=sample.payloads[:1], answers=sample.answers[:1])


def _origin(choice: Choice) -> Answered:
    """Return where a version's answers come from."""
    planned = choice.planned
    return Answered(
        model=choice.id.model,
        version=choice.id.version,
        control_offset=planned.control_offset,
        digest=planned.record.digest,
        arm=choice.arm,
    )


def _outcome(answer: bytes | Fault, micros: int) -> Outcome:
    if isinstance(answer, bytes):
        return Outcome(answer, micros)
    return Outcome(b"", micros, answer.code.name, answer.message)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _undone(job: Job, reason: str) -> ShadowComparison:
    """Return one record for a job that was not done; its other requests count as missed."""
    return ShadowComparison(
        model=job.model,
        node=job.node,
        at_ms=job.at_ms,
        primary=replace(job.primary, latency_micros=job.pairs[0].primary.latency_micros),
        shadow=replace(job.shadow, latency_micros=job.pairs[0].shadow.latency_micros),
        agreement=Agreement.FAILED,
        differences=(Difference(output="", reason=reason),),
        missed=job.missed + len(job.pairs) - 1,
    )
