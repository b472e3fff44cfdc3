"""Several workers at one queue: who gets what, with a test at the other end of each link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.workers import frames
from headrace.consumer.workers.dispatch import Dispatcher
from headrace.consumer.workers.flight import Share
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import CallQueue, Ticket
from headrace.schemas.records import Batching
from tests.fakes.worker import FakeWorker, payloads

OPTIONS = WorkerOptions(max_frame_calls=8)


@pytest.fixture
async def workers() -> AsyncGenerator[list[FakeWorker]]:
    """Two connected workers."""
    connected = [await FakeWorker.connected() for _ in range(2)]
    yield connected
    for each in connected:
        await each.close()


class Rig:
    """A queue, its dispatcher, and a switch for tests of suspects."""

    def __init__(self, batching: Batching | None = None) -> None:
        self.queue = CallQueue(1000, 100_000)
        self.may_test = True
        self.dispatcher = Dispatcher(
            self.queue, batching or Batching(), OPTIONS, lambda: self.may_test
        )

    def put(self, *texts: bytes) -> list[Ticket]:
        """Queue a call for each text, then send what may be sent."""
        tickets = [ticket(text) for text in texts]
        for each in tickets:
            self.queue.put(each)
        self.dispatcher.pump()
        return tickets


def ticket(*texts: bytes) -> Ticket:
    """Return a ticket for calls whose payloads say which they are."""
    return Ticket(Calls(Encoding.AVRO, texts, [time.monotonic() + 60] * len(texts)))


async def test_idle_workers_share_what_is_queued(workers: list[FakeWorker]) -> None:
    """The first of two does not take it all."""
    rig = Rig()
    for each in workers:
        rig.dispatcher.attach(each.link)
    rig.put(b"a", b"b", b"c")
    sent = [payloads(await each.receive_run()) for each in workers]
    assert sent == [[b"a", b"b"], [b"c"]]


async def test_a_call_goes_to_the_idle_worker(workers: list[FakeWorker]) -> None:
    """While one is busy the other answers."""
    rig = Rig()
    for each in workers:
        rig.dispatcher.attach(each.link)
    rig.put(b"a")
    held = await workers[0].receive_run()
    for text in (b"b", b"c"):
        [asked] = rig.put(text)
        run = await workers[1].receive_run()
        assert payloads(run) == [text]
        workers[1].answer(run)
        async with asyncio.timeout(5):
            await asked.done
    assert await workers[0].sees_nothing()
    workers[0].answer(held)


async def test_a_busy_worker_gets_its_part_of_half_a_frame(workers: list[FakeWorker]) -> None:
    """What queued while all were busy is not all given to one: the rest is for the next idle."""
    rig = Rig()
    for each in workers:
        rig.dispatcher.attach(each.link)
    rig.put(b"a", b"b")
    runs = [await each.receive_run() for each in workers]
    rig.put(b"1", b"2", b"3")
    for each in workers:
        assert await each.sees_nothing()
    rig.put(b"4")
    assert payloads(await workers[0].receive_run()) == [b"1", b"2"]
    assert await workers[1].sees_nothing()
    workers[1].answer(runs[1])
    assert payloads(await workers[1].receive_run()) == [b"3", b"4"]


async def test_with_a_batch_timeout_calls_stay_together(workers: list[FakeWorker]) -> None:
    """A batch that was waited for is not cut in two."""
    rig = Rig(Batching(max_rows=4, timeout_micros=10_000_000))
    for each in workers:
        rig.dispatcher.attach(each.link)
    rig.put(b"a", b"b", b"c")
    assert await workers[0].sees_nothing()
    rig.put(b"d")
    assert payloads(await workers[0].receive_run()) == [b"a", b"b", b"c", b"d"]
    assert await workers[1].sees_nothing()


async def test_one_worker_has_suspects_while_the_other_serves(workers: list[FakeWorker]) -> None:
    """Suspects go one by one to the same worker, which gets nothing else until they are done."""
    rig = Rig()
    for each in workers:
        rig.dispatcher.attach(each.link)
    suspected = ticket(b"s", b"t")
    rig.dispatcher.suspect([Share(suspected, [0]), Share(suspected, [1])])
    rig.put(b"a", b"b")
    for expected in (b"s", b"t"):
        run = await workers[0].receive_run()
        assert payloads(run) == [expected]
        assert await workers[0].sees_nothing()
        served = await workers[1].receive_run()
        assert expected not in payloads(served)
        workers[1].answer(served)
        rig.put(b"c")
        workers[0].answer(run)
    async with asyncio.timeout(5):
        await suspected.done


async def test_a_busy_worker_is_kept_free_for_suspects(workers: list[FakeWorker]) -> None:
    """Full queues do not keep suspects waiting: one worker gets no further frames."""
    rig = Rig()
    for each in workers:
        rig.dispatcher.attach(each.link)
    rig.put(b"a", b"b")
    runs = [await each.receive_run() for each in workers]
    rig.dispatcher.suspect([Share(ticket(b"s"), [0])])
    rig.put(*[b"x"] * 20)
    assert await workers[0].sees_nothing()
    workers[0].answer(runs[0])
    assert payloads(await workers[0].receive_run()) == [b"s"]
    assert await workers[0].sees_nothing()


async def test_suspects_wait_while_no_worker_may_be_risked(workers: list[FakeWorker]) -> None:
    """The last worker goes on serving; when another is there the suspects' turn comes."""
    rig = Rig()
    rig.may_test = False
    rig.dispatcher.attach(workers[0].link)
    rig.dispatcher.suspect([Share(ticket(b"s"), [0])])
    for text in (b"a", b"b"):
        [asked] = rig.put(text)
        run = await workers[0].receive_run()
        assert payloads(run) == [text]
        workers[0].answer(run)
        async with asyncio.timeout(5):
            await asked.done
    rig.may_test = True
    rig.dispatcher.attach(workers[1].link)
    assert payloads(await workers[0].receive_run()) == [b"s"]


async def test_a_worker_that_leaves_answers_what_it_has(workers: list[FakeWorker]) -> None:
    """It gets nothing more, and is ended after its last answer."""
    lost = asyncio.Event()
    rig = Rig()
    workers[0].link.on_end = lost.set
    lanes = [rig.dispatcher.attach(each.link) for each in workers]
    [last] = rig.put(b"a")
    run = await workers[0].receive_run()
    rig.dispatcher.retire(lanes[0])
    rig.put(*[b"x"] * 20)
    assert await workers[0].sees_nothing()
    assert not lost.is_set()
    workers[0].answer(run)
    async with asyncio.timeout(5):
        await last.done
        await lost.wait()
    assert last.answers().payloads == [b"a"]
    assert rig.dispatcher.workers == 1


async def test_draining_takes_out_every_call_wherever_it_is(workers: list[FakeWorker]) -> None:
    """In flight, with a worker that leaves, suspected, or queued: none is forgotten."""
    rig = Rig()
    lanes = [rig.dispatcher.attach(each.link) for each in workers]
    first, second = rig.put(b"a", b"b")
    rig.dispatcher.retire(lanes[0])
    suspected = ticket(b"s")
    rig.may_test = False
    rig.dispatcher.suspect([Share(suspected, [0])])
    [queued] = rig.put(b"c")
    assert set(rig.dispatcher.drain()) == {first, second, suspected, queued}
    assert rig.dispatcher.drain() == []
    assert rig.dispatcher.workers == 0


async def test_new_batching_reaches_every_worker(workers: list[FakeWorker]) -> None:
    """All workers of a version batch by the same rules."""
    rig = Rig()
    for each in workers:
        rig.dispatcher.attach(each.link)
    rig.dispatcher.rebatch(Batching(max_rows=5))
    for each in workers:
        assert await each.receive() == frames.Rebatch(Batching(max_rows=5))
