"""What is sent to a worker when: the real link, with a test at its other end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.dispatch import Dispatcher
from headrace.consumer.workers.flight import Share
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import CallQueue, Ticket
from headrace.schemas.records import Batching
from tests.fakes.worker import FakeWorker, payloads

OPTIONS = WorkerOptions(max_frame_calls=4)


@pytest.fixture
async def worker() -> AsyncGenerator[FakeWorker]:
    """A connected worker."""
    connected = await FakeWorker.connected()
    yield connected
    await connected.close()


def ticket(*texts: bytes, seconds: float = 60.0) -> Ticket:
    """Return a ticket for calls whose payloads say which they are."""
    deadline = time.monotonic() + seconds
    return Ticket(Calls(Encoding.AVRO, texts, [deadline] * len(texts)))


def singles(count: int) -> list[Ticket]:
    """Return tickets of one call each, numbered."""
    return [ticket(b"%d" % number) for number in range(count)]


def dispatcher_of(
    queue: CallQueue, batching: Batching | None = None, options: WorkerOptions = OPTIONS
) -> Dispatcher:
    """Return a dispatcher without a worker."""
    return Dispatcher(queue, batching or Batching(), options)


async def test_sends_what_queued_while_the_worker_was_busy(worker: FakeWorker) -> None:
    """The first call goes at once, the others together when its answer is there, up to a frame."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(
        queue, options=WorkerOptions(max_frame_calls=4, max_frames_in_flight=1)
    )
    dispatcher.attach(worker.link)
    tickets = singles(7)
    for each in tickets:
        queue.put(each)
        dispatcher.pump()
    sent: list[list[bytes]] = []
    for _ in range(3):
        run = await worker.receive_run()
        assert await worker.sees_nothing()
        sent.append(payloads(run))
        worker.answer(run)
    async with asyncio.timeout(5):
        await asyncio.gather(*(each.done for each in tickets))
    assert sent == [[b"0"], [b"1", b"2", b"3", b"4"], [b"5", b"6"]]
    assert [each.answers().payloads for each in tickets] == [[b"%d" % n] for n in range(7)]


async def test_a_frame_that_is_half_full_goes_to_a_busy_worker(worker: FakeWorker) -> None:
    """The worker need not wait for its next frame, and never has more than two."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue)
    dispatcher.attach(worker.link)
    runs: list[frames.Run] = []
    for number in range(5):
        queue.put(ticket(b"%d" % number))
        dispatcher.pump()
        if number in {0, 2}:
            runs.append(await worker.receive_run())
        else:
            assert await worker.sees_nothing()
    assert [payloads(run) for run in runs] == [[b"0"], [b"1", b"2"]]
    worker.answer(runs[1])
    assert payloads(await worker.receive_run()) == [b"3", b"4"]


async def test_early_answers_are_handed_out_before_the_frame_is_done(worker: FakeWorker) -> None:
    """A quick call need not wait for a slow neighbour, and no frame follows until all are done."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue)
    slow, quick, later = ticket(b"s", b"t"), ticket(b"q"), ticket(b"l")
    queue.put(slow)
    queue.put(quick)
    dispatcher.attach(worker.link)
    run = await worker.receive_run()
    queue.put(later)
    worker.answer(run, 2)
    async with asyncio.timeout(5):
        await quick.done
    assert not slow.done.done()
    assert await worker.sees_nothing()
    worker.answer(run, 1, 0)
    async with asyncio.timeout(5):
        await slow.done
    assert slow.answers().payloads == [b"s", b"t"]
    assert payloads(await worker.receive_run()) == [b"l"]


async def test_suspects_go_alone(worker: FakeWorker) -> None:
    """Calls over which a worker died are sent one by one, and nothing beside them."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue, options=WorkerOptions(max_frame_calls=2))
    suspected, others = ticket(b"a", b"b", b"c"), ticket(b"d", b"e")
    dispatcher.suspect([Share(suspected, [2]), Share(suspected, [0])])
    queue.put(others)
    lane = dispatcher.attach(worker.link)
    sent: list[list[bytes]] = []
    tests: list[bool] = []
    for _ in range(3):
        run = await worker.receive_run()
        dispatcher.pump()
        assert await worker.sees_nothing()
        sent.append(payloads(run))
        tests.append(lane.is_testing)
        worker.answer(run)
    async with asyncio.timeout(5):
        await others.done
    assert sent == [[b"c"], [b"a"], [b"d", b"e"]]
    assert tests == [True, True, False]
    assert suspected.payloads == [b"a", None, b"c"]


async def test_suspects_that_are_answered_or_expired_are_not_sent(worker: FakeWorker) -> None:
    """No worker is risked for what nobody waits for."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue)
    answered, expired, alive = ticket(b"a"), ticket(b"b", b"x", seconds=-1), ticket(b"c")
    answered.settle(0, b"already")
    dispatcher.suspect([Share(answered, [0]), Share(expired, [0]), Share(alive, [0])])
    dispatcher.attach(worker.link)
    assert payloads(await worker.receive_run()) == [b"c"]
    assert expired.faults[0].code is Code.DEADLINE_EXCEEDED
    assert expired.unanswered == [1]


async def test_an_idle_worker_waits_for_company_if_told_to(worker: FakeWorker) -> None:
    """With a batch timeout a lone call waits, until there are enough or the time is over."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue, Batching(max_rows=3, timeout_micros=10_000_000))
    dispatcher.attach(worker.link)
    for each in singles(3):
        assert await worker.sees_nothing()
        queue.put(each)
        dispatcher.pump()
    assert len(payloads(await worker.receive_run())) == 3


async def test_the_batch_timeout_sends_what_there_is(worker: FakeWorker) -> None:
    """A lone call does not wait longer than the batch timeout, and nor does the next one."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue, Batching(max_rows=3, timeout_micros=1000))
    dispatcher.attach(worker.link)
    for each in singles(2):
        queue.put(each)
        dispatcher.pump()
        run = await worker.receive_run()
        assert payloads(run) == list(each.calls.payloads)
        worker.answer(run)
        async with asyncio.timeout(5):
            await each.done


async def test_detaching_returns_what_is_unanswered(worker: FakeWorker) -> None:
    """Of the calls that a dead worker had, those without an answer come back, each alone."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue)
    calls, answered, later = ticket(b"a", b"b", b"c"), ticket(b"d"), ticket(b"l")
    queue.put(calls)
    queue.put(answered)
    lane = dispatcher.attach(worker.link)
    run = await worker.receive_run()
    worker.answer(run, 1, 3)
    async with asyncio.timeout(5):
        await answered.done
    orphans = dispatcher.detach(lane)
    assert [(each.ticket, each.positions) for each in orphans] == [(calls, [0]), (calls, [2])]
    assert dispatcher.detach(lane) == []
    dispatcher.suspect(orphans[1:])
    queue.put(later)
    dispatcher.pump()
    assert dispatcher.drain() == [calls, later]
    assert dispatcher.drain() == []


async def test_knows_whether_a_worker_has_answered(worker: FakeWorker) -> None:
    """One call answered is enough, whatever becomes of the others of its frame."""
    queue = CallQueue(100, 1000)
    dispatcher = dispatcher_of(queue)
    quick, slow = ticket(b"q"), ticket(b"s")
    queue.put(quick)
    queue.put(slow)
    lane = dispatcher.attach(worker.link)
    run = await worker.receive_run()
    assert not dispatcher.has_answered
    worker.answer(run, 0)
    async with asyncio.timeout(5):
        await quick.done
    assert dispatcher.has_answered
    dispatcher.detach(lane)
    assert dispatcher.has_answered


async def test_new_batching_is_passed_on(worker: FakeWorker) -> None:
    """The worker hears of a new bound on rows."""
    dispatcher = dispatcher_of(CallQueue(100, 1000))
    dispatcher.attach(worker.link)
    rules = Batching(max_rows=8, allowed_rows=(1, 8), pads_variable_length=True)
    dispatcher.rebatch(rules)
    assert await worker.receive() == frames.Rebatch(rules)


async def test_a_call_too_long_for_a_frame_is_answered(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no frame can carry is refused with the sizes, and the worker lives."""
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    queue = CallQueue(100, 10_000)
    dispatcher = dispatcher_of(queue)
    dispatcher.attach(worker.link)
    long, short = ticket(bytes(200)), ticket(b"s")
    queue.put(long)
    dispatcher.pump()
    await long.done
    fault = long.answers().faults[0]
    assert fault.code is Code.RESOURCE_EXHAUSTED
    assert "over the limit of 100" in fault.message
    queue.put(short)
    dispatcher.pump()
    assert payloads(await worker.receive_run()) == [b"s"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x00",
        bytes(frames.encode(frames.Loaded(b"", 0, 0))),
        bytes(frames.encode(frames.Ran(99, None, [], {}))),
        bytes(frames.encode(frames.Ran(0, None, [b"a", b"b"], {}))),
        bytes(frames.encode(frames.Ran(0, [1], [b"a"], {}))),
    ],
    ids=["length", "garbage", "unexpected", "unknown", "too many", "misplaced"],
)
async def test_a_worker_that_breaks_the_protocol_is_ended(worker: FakeWorker, sent: bytes) -> None:
    """Bytes that make no sense end the worker, and the reason is kept."""
    lost = asyncio.Event()
    worker.link.on_end = lost.set
    queue = CallQueue(100, 1000)
    queue.put(ticket(b"a"))
    dispatcher_of(queue).attach(worker.link)
    worker.writer.write(sent)
    async with asyncio.timeout(5):
        await lost.wait()
    assert (await worker.link.wait_exit()).startswith("it broke the protocol: ")
