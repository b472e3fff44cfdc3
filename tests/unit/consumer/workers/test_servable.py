"""Which deaths of workers end a version: workers played by the test, one after the other."""

from __future__ import annotations

import asyncio

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadCrashed, ModelRejected
from headrace.consumer.core.ids import ServableId
from headrace.consumer.workers import frames
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.start import LoadedWorker
from headrace.schemas.records import Batching
from tests.fakes.crew import KILLER, OPTIONS, Workers, ask, codes, serving
from tests.fakes.worker import FakeProcess, FakeWorker


@pytest.mark.parametrize("place", range(3))
async def test_requests_that_kill_do_not_end_a_version_that_answers_others(place: int) -> None:
    """Each of the culprits is refused, its neighbours are answered, and the version goes on."""
    async with serving() as (servable, workers):
        for _ in range(6):
            asked = [b"a", b"b"]
            asked.insert(place, KILLER)
            answers = await ask(servable, asked)
            assert codes(answers).count(Code.OK) == 2
            assert answers.faults[place].message == "worker died: killed by SIGKILL"
            assert [*answers.payloads[:place], *answers.payloads[place + 1 :]] == [b"a", b"b"]
        assert workers.started == 1 + 2 * 6


async def test_several_culprits_in_one_frame_do_not_end_a_version() -> None:
    """However many of the requests in a frame kill, the others are answered."""
    async with serving() as (servable, _):
        asked = [*[KILLER] * 20, b"good", b"fine"]
        assert codes(await ask(servable, asked)) == [Code.UNAVAILABLE] * 20 + [Code.OK] * 2
        assert codes(await ask(servable, [b"good"])) == [Code.OK]


async def test_a_version_that_dies_of_every_request_ends() -> None:
    """Three workers that died before they answered anything are enough, and all are told why."""
    async with serving() as (servable, workers):
        for _ in range(2):
            assert codes(await ask(servable, [KILLER])) == [Code.UNAVAILABLE]
        last = await ask(servable, [KILLER])
        reason = await servable.wait_broken()
        assert isinstance(reason, LoadCrashed)
        assert str(reason) == ("the worker died 3 times within 60 s, last: killed by SIGKILL")
        assert codes(last) == [Code.UNAVAILABLE]
        later = await ask(servable, [b"good"])
        assert later.faults[0].message == str(reason)
        assert workers.started == 5


async def test_a_version_that_dies_of_every_request_of_a_batch_ends() -> None:
    """A thousand requests do not mean a thousand workers when not one of them is answered."""
    async with serving() as (servable, workers):
        answers = await ask(servable, [KILLER] * 1000)
        reason = await servable.wait_broken()
        assert "died of 8 requests, one after the other, last: killed by" in str(reason)
        assert codes(answers) == [Code.UNAVAILABLE] * 1000
        assert workers.started == 1 + 8


@pytest.mark.parametrize("has_served", [True, False])
async def test_a_version_whose_workers_die_at_start_ends(has_served: bool) -> None:
    """Starts that end in a crash count, whether the first worker had served or not."""
    async with serving() as (servable, workers):
        if has_served:
            await ask(servable, [b"good"])
        workers.failures = [LoadCrashed(f"crash {n}") for n in range(10)]
        assert codes(await ask(servable, [KILLER])) == [Code.UNAVAILABLE]
        reason = await servable.wait_broken()
        assert "died 3 times within 60 s, last: crash" in str(reason)
        assert len(workers.failures) == 10 - (3 if has_served else 2)


async def test_a_start_that_succeeds_after_a_crash_goes_on() -> None:
    """A crash or two at the start of a replacement are survived."""
    async with serving() as (servable, workers):
        await ask(servable, [b"good"])
        workers.failures = [LoadCrashed("crash")] * 2
        assert codes(await ask(servable, [b"a", KILLER])) == [Code.OK, Code.UNAVAILABLE]


async def test_deaths_far_apart_do_not_end_a_version() -> None:
    """Only those within the window count together."""
    options = WorkerOptions(max_deaths=3, deaths_window_seconds=0.0)
    async with serving(options) as (servable, _):
        for _ in range(6):
            assert codes(await ask(servable, [KILLER])) == [Code.UNAVAILABLE]
        assert codes(await ask(servable, [b"good"])) == [Code.OK]


async def test_a_version_that_the_platform_refuses_now_ends_at_once() -> None:
    """A replacement that cannot be loaded for a reason in words is not tried again."""
    async with serving() as (servable, workers):
        await ask(servable, [b"good"])
        workers.failures = [ModelRejected("the files are gone")]
        answers = await ask(servable, [KILLER])
        assert str(await servable.wait_broken()) == "the files are gone"
        assert answers.faults[0].message == "the files are gone"


class SlowProcess(FakeProcess):
    """A process that is not gone yet when its stream has ended."""

    def kill(self) -> None:
        """Take its time."""


async def test_unloading_while_a_worker_ends_answers_its_calls() -> None:
    """Calls of a worker that has just died are answered at once, though nothing comes after it."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        process = SlowProcess()
        worker = await FakeWorker.connected(process)
        first = LoadedWorker(worker.link, frames.Loaded(b"", 0, 0))
        workers = Workers(tasks)
        servable = WorkerServable(ServableId("m", 1), first, workers, Batching(), OPTIONS)
        servable.begin(tasks)
        asked = tasks.create_task(ask(servable, [b"a"]))
        await worker.receive_run()
        await worker.die()
        while not worker.link.is_lost:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # The servable has heard of it, and waits for the process.
        unloading = tasks.create_task(servable.unload())
        answers = await asked
        assert answers.faults[0].message == "m/1 was unloaded"
        assert not unloading.done()
        process.exited.set_result("killed by SIGKILL")
        await unloading
        assert workers.started == 0
