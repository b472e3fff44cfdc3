"""Several real workers of one version: they answer side by side, die, come and leave."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.workers.servable import WorkerServable
from tests.integration.consumer.conftest import Load
from tests.integration.consumer.workers.rig import ask, avro, column, floats, outputs
from tests.models import BRITTLE_VALUE

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def manned(servable: WorkerServable, count: int) -> list[int]:
    """Return the workers' process ids when there are so many, all alive."""
    while len(servable.pids) != count or not all(map(_is_alive, servable.pids)):
        await asyncio.sleep(0.01)
    return servable.pids


def _is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def load_on(servable: WorkerServable, callers: int = 20) -> AsyncGenerator[None]:
    """Ask all the time, from many callers, and check every answer; at least one comes before."""
    is_over, has_begun = asyncio.Event(), asyncio.Event()

    async def compute(n: int) -> None:
        while not is_over.is_set():
            [answer] = await ask(servable, [avro(column(n))])
            assert outputs(answer)["y"] == [[n * 0.5 + 2]]
            has_begun.set()

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        for caller in range(callers):
            tasks.create_task(compute(caller))
        await has_begun.wait()
        yield
        is_over.set()


async def test_two_calls_are_inside_two_workers_at_once(load: Load) -> None:
    """While one worker is busy without end, the other answers, call after call."""
    servable = await load("sleepy", replicas=2)
    async with asyncio.timeout(60):
        first, second = await manned(servable, 2)
        assert first != second
        endless = avro({"seconds": np.full(1, 1e9, np.float32)})
        busy = asyncio.create_task(ask(servable, [endless]))
        await asyncio.sleep(0)  # The task has run up to its wait.
        for _ in range(3):
            quick = avro({"seconds": np.zeros(1, np.float32)})
            [answer] = await ask(servable, [quick])
            assert answer.code is Code.OK
        assert not busy.done()
        await servable.unload()
        await busy
        assert not _is_alive(first)
        assert not _is_alive(second)


async def test_a_killed_worker_of_two_is_replaced_and_nobody_notices(load: Load) -> None:
    """Every call is answered, and in the end two workers are there."""
    servable = await load("half_plus_two", replicas=2)
    async with load_on(servable):
        killed, kept = await manned(servable, 2)
        os.kill(killed, signal.SIGKILL)
        while killed in servable.pids:
            await asyncio.sleep(0.01)
        assert kept in await manned(servable, 2)


async def test_both_workers_killed_are_replaced_and_nobody_notices(load: Load) -> None:
    """With no worker left the calls wait for the first to come back."""
    servable = await load("half_plus_two", replicas=2)
    async with load_on(servable):
        killed = await manned(servable, 2)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        while set(killed) & set(servable.pids):
            await asyncio.sleep(0.01)
        await manned(servable, 2)


async def test_more_and_fewer_workers_under_load(load: Load) -> None:
    """From one to three and back: every call is answered, and processes that leave end."""
    servable = await load("half_plus_two")
    async with load_on(servable):
        [first] = servable.pids
        servable.rescale(3)
        three = await manned(servable, 3)
        servable.rescale(1)
        await manned(servable, 1)
        assert servable.pids == [first]
        while any(_is_alive(pid) for pid in three if pid != first):
            await asyncio.sleep(0.01)


async def test_requests_that_kill_take_nobody_along(load: Load) -> None:
    """Between them and beside them all others are answered, by workers that are replaced."""
    servable = await load("brittle", replicas=2)
    async with asyncio.timeout(90):
        await manned(servable, 2)
        for _ in range(3):
            mixed = [avro(floats(v)) for v in (1.0, BRITTLE_VALUE, 2.0)]
            others = [[avro(floats(float(n)))] for n in range(20, 30)]
            found, *beside = await asyncio.gather(
                ask(servable, mixed), *[ask(servable, each) for each in others]
            )
            assert [each.code for each in found] == [Code.OK, Code.UNAVAILABLE, Code.OK]
            assert {each.code for [each] in beside} == {Code.OK}
        await manned(servable, 2)
