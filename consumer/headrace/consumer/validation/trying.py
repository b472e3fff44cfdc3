"""Loads a candidate as a node would, and asks it one example after the other.

What runs is what nodes run: zygote, worker, format and batcher. Only the artefact cache is left
out: nothing is stored yet, and the folder is the publisher's own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.errors import LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.validation.expecting import Expectations
from headrace.consumer.workers import frames
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.start import LoadedWorker, start_worker
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from headrace.schemas.trial import Example, Report, Trial, Verdict

MAX_FAULTS: Final = 5
"""How many faults are told in words."""
_MAX_WORDS: Final = 1000

# A candidate has no number yet.
_VERSION: Final = 0
# How long it may take is the publisher's to say, and it ends the process.
_FAR_SECONDS: Final = 365 * 86400.0


async def try_out(trial: Trial, tell: Callable[[Report], None]) -> Report:
    """Return how the candidate did.

    Args:
        trial: the candidate and its examples.
        tell: takes a report once it has loaded, and after each example.

    Cancellation: its workers are gone when the cancelled call returns.
    """
    async with Zygotes() as zygotes:
        try:
            probe = await zygotes.fork(trial.platform)
        except LoadError as error:
            return Report(verdict=Verdict.UNAVAILABLE, faults=[str(error)])
        probe.stream.close()
        start = _Start(zygotes, trial)
        try:
            worker = await start(Batching(), yields_cpu=False)
        except LoadError as error:
            words = f"the model does not load: {error}"
            return Report(verdict=Verdict.REFUSED, faults=[words])
        async with _serving(trial, worker, start) as servable:
            tell(Report())
            return await _ask_all(trial, servable, tell)


class _Start:
    """What makes a worker that has loaded the candidate; see `workers.recruiter.StartWorker`."""

    def __init__(self, zygotes: Zygotes, trial: Trial) -> None:
        self._zygotes = zygotes
        self._trial = trial

    async def __call__(self, batching: Batching, *, yields_cpu: bool) -> LoadedWorker:
        cores = len(os.sched_getaffinity(0))
        order = frames.Load(
            platform=self._trial.platform,
            path=self._trial.path,
            model=self._trial.model,
            version=_VERSION,
            intra_op_threads=cores,
            inter_op_threads=cores,
            batching=batching,
            yields_cpu=yields_cpu,
        )
        return await start_worker(self._zygotes, order)


@asynccontextmanager
async def _serving(
    trial: Trial, worker: LoadedWorker, start: _Start
) -> AsyncGenerator[WorkerServable, None]:
    """Serve with a worker; one that dies is replaced, as on a node."""
    name = ServableId(trial.model, _VERSION)
    servable = WorkerServable(name, worker, start, Batching(), WorkerOptions())
    async with asyncio.TaskGroup() as tasks:
        servable.begin(tasks)
        try:
            yield servable
        finally:
            await servable.unload()


async def _ask_all(
    trial: Trial, servable: WorkerServable, tell: Callable[[Report], None]
) -> Report:
    expectations = Expectations(servable.signature_def, trial.tolerances)
    faults = expectations.strange_tolerances()
    if faults:
        return Report(verdict=Verdict.REFUSED, faults=faults)
    failed = 0
    for done, example in enumerate(trial.examples, 1):
        found = await _ask(servable, expectations, example)
        failed += bool(found)
        if found and len(faults) < MAX_FAULTS:
            faults.append(f"line {example.line}: {', '.join(found)}"[:_MAX_WORDS])
        tell(Report(done=done))
    verdict = Verdict.FAILED if failed else Verdict.PASSED
    return Report(done=len(trial.examples), verdict=verdict, failed=failed, faults=faults)


async def _ask(servable: WorkerServable, expectations: Expectations, example: Example) -> list[str]:
    """Return what is wrong with an example, or with the answer to it."""
    try:
        payload = expectations.request(example)
    except ValueError as error:
        return [str(error)]
    deadline = time.monotonic() + _FAR_SECONDS
    answers = await servable.infer(Calls(Encoding.TENSORFLOW_SERVING, [payload], [deadline]))
    fault = answers.faults.get(0)
    if fault is not None:
        return [f"{fault.code.name}: {fault.message}"]
    return expectations.faults(example, answers.payloads[0])
