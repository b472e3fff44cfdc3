"""Several workers of one version that come, die and leave: workers played by the test."""

from __future__ import annotations

import asyncio

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadCrashed, ModelRejected
from headrace.consumer.workers import crew
from headrace.schemas.records import Batching
from tests.fakes.crew import KILLER, ask, codes, serving
from tests.fakes.worker import FakeWorker


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that did not start are tried again soon."""
    monkeypatch.setattr(crew, "_FIRST_PAUSE_SECONDS", 0.01)


async def died(worker: FakeWorker) -> None:
    """Let a worker die, and return when the node has heard of it."""
    await worker.die()
    while not worker.link.is_lost:
        await asyncio.sleep(0)


async def test_serves_with_the_first_while_the_others_load() -> None:
    """Nobody waits for the second worker; it loads on few cores, since the first serves."""
    async with serving(replicas=2) as (servable, workers):
        workers.gate.clear()
        for _ in range(3):
            assert codes(await ask(servable, [b"a"])) == [Code.OK]
        assert workers.started == 1
        workers.gate.set()
        await workers.wait_alive(2)
        assert workers.yields == [False, True]


async def test_a_worker_hears_of_rules_that_changed_while_it_loaded() -> None:
    """It begins with the old ones, and is told the new ones before its first call."""
    async with serving() as (servable, workers):
        workers.gate.clear()
        servable.rescale(2)
        await workers.wait_begun(2)
        rules = Batching(max_rows=5)
        servable.rebatch(rules)
        workers.gate.set()
        await workers.wait_alive(2)
        workers.hold()
        asked = [asyncio.ensure_future(ask(servable, [b"%d" % n])) for n in range(2)]
        await workers.wait_held(2)
        assert workers.rebatched == [rules, rules]
        workers.release()
        await asyncio.gather(*asked)


async def test_workers_answer_side_by_side() -> None:
    """Two calls are inside two workers at once."""
    async with serving(replicas=2) as (servable, workers):
        await workers.wait_alive(2)
        workers.hold()
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(ask(servable, [b"%d" % n])) for n in range(2)]
            await workers.wait_held(2)
            workers.release()
        assert [each.result().payloads for each in asked] == [[b"0"], [b"1"]]


async def test_a_death_is_made_good_while_the_others_serve() -> None:
    """A worker dies with a call: another one serves on, and the call is answered in the end."""
    async with serving(replicas=2) as (servable, workers):
        await workers.wait_alive(2)
        workers.hold()
        victim = asyncio.ensure_future(ask(servable, [b"victim"]))
        await workers.wait_held(1)
        workers.gate.clear()
        await died(workers.alive[0])
        workers.release()
        for _ in range(5):
            assert codes(await ask(servable, [b"other"])) == [Code.OK]
        assert not victim.done()  # The last worker is not risked for it.
        workers.gate.set()
        assert (await victim).payloads == [b"victim"]


async def test_suspects_of_a_lone_worker_do_not_wait_for_one_that_cannot_start() -> None:
    """Where no second worker comes soon, the only one there is answers them."""
    async with serving(replicas=2) as (servable, workers):
        await workers.wait_alive(2)
        workers.hold()
        victim = asyncio.ensure_future(ask(servable, [b"victim"]))
        await workers.wait_held(1)
        workers.failures = [ModelRejected("no memory")] * 1000
        await died(workers.alive[0])
        workers.release()
        assert (await victim).payloads == [b"victim"]
        workers.failures.clear()


async def test_a_request_that_kills_is_refused_and_nobody_else() -> None:
    """It takes two workers along; the version goes on with as many as before."""
    async with serving(replicas=3) as (servable, workers):
        await workers.wait_alive(3)
        for _ in range(5):
            answers = await asyncio.gather(
                *[ask(servable, [b"%d" % n]) for n in range(10)], ask(servable, [KILLER, b"n"])
            )
            assert [codes(each) for each in answers[:-1]] == [[Code.OK]] * 10
            assert codes(answers[-1]) == [Code.UNAVAILABLE, Code.OK]
        await workers.wait_alive(3)
        assert workers.started == 3 + 2 * 5


async def test_a_version_that_dies_of_every_request_ends_whatever_its_size() -> None:
    """More workers do not keep a version alive that answers nothing."""
    async with serving(replicas=3) as (servable, _):
        answers = await ask(servable, [KILLER] * 1000)
        assert isinstance(await servable.wait_broken(), LoadCrashed)
        assert codes(answers) == [Code.UNAVAILABLE] * 1000


async def test_all_workers_dying_at_once_again_and_again_is_survived() -> None:
    """A zygote that dies takes all along: that is one death, and two are no reason to end."""
    async with serving(replicas=4) as (servable, workers):
        for _ in range(2):
            await workers.wait_alive(4)
            await asyncio.gather(*[died(each) for each in workers.alive])
        assert codes(await ask(servable, [b"a"])) == [Code.OK]


async def test_a_worker_that_cannot_start_does_not_end_a_version_that_serves() -> None:
    """It is tried again after a pause, as often as it takes."""
    async with serving(replicas=2) as (servable, workers):
        workers.failures = [LoadCrashed("crash"), ModelRejected("no memory")] * 3
        await workers.wait_alive(2)
        assert not workers.failures
        assert codes(await ask(servable, [b"a"])) == [Code.OK]


async def test_more_and_fewer_workers_without_losing_a_call() -> None:
    """Workers that leave answer what they have, and those that are loading are given up."""
    async with serving() as (servable, workers):
        servable.rescale(3)
        await workers.wait_alive(3)
        workers.hold()
        asked = [asyncio.ensure_future(ask(servable, [b"%d" % n])) for n in range(3)]
        await workers.wait_held(3)
        servable.rescale(1)
        later = asyncio.ensure_future(ask(servable, [b"later"]))
        await asyncio.sleep(0)  # It is queued.
        assert len(workers.alive) == 3
        workers.release()
        found = await asyncio.gather(*asked, later)
        assert [each.payloads for each in found] == [[b"0"], [b"1"], [b"2"], [b"later"]]
        await workers.wait_alive(1)
        workers.gate.clear()
        servable.rescale(2)
        servable.rescale(1)
        workers.gate.set()
        assert codes(await ask(servable, [b"last"])) == [Code.OK]
        assert workers.started == 3


async def test_of_too_many_those_at_work_stay() -> None:
    """A seat whose worker is only coming is the one to go."""
    async with serving(replicas=2) as (servable, workers):
        await workers.wait_alive(2)
        workers.gate.clear()
        await died(workers.alive[0])
        await workers.wait_begun(3)
        servable.rescale(1)
        assert codes(await ask(servable, [b"a"])) == [Code.OK]
        assert len(servable.pids) == 1
        assert workers.started == 2


async def test_a_worker_that_dies_while_it_leaves_loses_no_call() -> None:
    """Its call is answered by one that stays, and it is not replaced."""
    async with serving(replicas=2) as (servable, workers):
        await workers.wait_alive(2)
        workers.hold()
        asked = [asyncio.ensure_future(ask(servable, [b"%d" % n])) for n in range(2)]
        await workers.wait_held(2)
        servable.rescale(1)
        await died(workers.alive[1])
        workers.release()
        found = await asyncio.gather(*asked)
        assert [each.payloads for each in found] == [[b"0"], [b"1"]]
        await workers.wait_alive(1)
        assert workers.started == 2


async def test_unloading_ends_every_worker_and_every_start() -> None:
    """Nothing is left, wherever each of them was."""
    async with serving(replicas=4) as (servable, workers):
        await workers.wait_alive(4)
        servable.rescale(6)
        workers.gate.clear()
        workers.hold()
        asked = [asyncio.ensure_future(ask(servable, [b"%d" % n])) for n in range(9)]
        await workers.wait_held(4)
        servable.rescale(3)
        await servable.unload()
        for each in await asyncio.gather(*asked):
            assert each.faults[0].message == "m/1 was unloaded"
        workers.release()
        await workers.wait_alive(0)
        servable.rescale(5)
        assert workers.started == 4
