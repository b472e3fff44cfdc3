"""What is sent to a worker when: the real link, with a test at its other end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator

import pytest

from headrace.consumer.core.calls import Answer, Call, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.dispatch import Dispatcher
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import CallGroup, CallQueue
from headrace.schemas.records import Batching

OPTIONS = WorkerOptions(max_frame_calls=4)


class FakeProcess:
    """A worker that is played by the test.

    **Concurrency:** event loop only.
    """

    pid = 4711

    def __init__(self) -> None:
        self.stream, self._other = socket.socketpair()
        self.stream.setblocking(False)
        self.exited: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        """End."""
        if not self.exited.done():
            self.exited.set_result("killed by SIGKILL")
            self._other.close()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the worker's end of the stream."""
        return await asyncio.open_connection(sock=self._other)


class Worker:
    """The other end of a link, and the link.

    **Concurrency:** event loop only.
    """

    def __init__(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.link = link
        self.reader = reader
        self.writer = writer

    async def receive(self) -> frames.ToWorker:
        """Return the next message."""
        async with asyncio.timeout(5):
            length = await self.reader.readexactly(frames.LENGTH_BYTES)
            return frames.decode_to_worker(
                await self.reader.readexactly(frames.body_bytes_of(length))
            )

    async def receive_run(self) -> frames.Run:
        """Return the next message, which must be a Run."""
        message = await self.receive()
        assert isinstance(message, frames.Run)
        return message

    def answer(self, run: frames.Run, *positions: int) -> None:
        """Answer some calls of a frame, or all, with their own payloads."""
        places = list(positions or range(len(run.calls)))
        answers = [Answer(Code.OK, run.calls[place].payload) for place in places]
        self.writer.write(frames.encode(frames.Ran(run.id, places, answers)))

    async def sees_nothing(self) -> bool:
        """Whether nothing has been sent: a later message is the next one to arrive."""
        self.link.send(frames.Rebatch(4711))
        return await self.receive() == frames.Rebatch(4711)


@pytest.fixture
async def worker() -> AsyncGenerator[Worker]:
    """A connected worker."""
    process = FakeProcess()
    link = Link(process)
    await link.open()
    reader, writer = await process.open()
    yield Worker(link, reader, writer)
    writer.close()
    link.kill()
    await writer.wait_closed()


def group(count: int, *, seconds: float = 60.0) -> CallGroup:
    """Return calls whose payloads say which they are."""
    deadline = time.monotonic() + seconds
    return CallGroup([Call(Encoding.AVRO, b"%d" % n, deadline) for n in range(count)])


def payloads(run: frames.Run) -> list[bytes]:
    """Return which calls a frame has."""
    return [call.payload for call in run.calls]


async def test_sends_what_queued_while_the_worker_was_busy(worker: Worker) -> None:
    """The first call goes at once, the others together when its answer is there, up to a frame."""
    queue = CallQueue(100, 1000)
    dispatcher = Dispatcher(queue, Batching(), OPTIONS)
    dispatcher.attach(worker.link)
    calls = group(7)
    for ticket in calls.tickets:
        queue.put([ticket])
        dispatcher.pump()
    sent: list[list[bytes]] = []
    while not calls.done.done():
        run = await worker.receive_run()
        sent.append(payloads(run))
        worker.answer(run)
        await asyncio.wait([calls.done], timeout=0)
        if len(sent) == 3:
            await calls.done
    assert sent == [[b"0"], [b"1", b"2", b"3", b"4"], [b"5", b"6"]]
    assert [answer.payload for answer in calls.answers()] == [b"%d" % n for n in range(7)]


async def test_early_answers_are_handed_out_before_the_frame_is_done(worker: Worker) -> None:
    """A quick call need not wait for a slow neighbour, and no frame follows until all are done."""
    queue = CallQueue(100, 1000)
    dispatcher = Dispatcher(queue, Batching(), OPTIONS)
    quick, slow, later = group(1), group(1), group(1)
    queue.put([*slow.tickets, *quick.tickets])
    dispatcher.attach(worker.link)
    run = await worker.receive_run()
    queue.put(later.tickets)
    worker.answer(run, 1)
    await quick.done
    assert not slow.done.done()
    assert await worker.sees_nothing()
    worker.answer(run, 0)
    await slow.done
    assert len((await worker.receive_run()).calls) == 1


async def test_suspects_go_alone(worker: Worker) -> None:
    """Calls over which a worker died are sent one by one, and nothing beside them."""
    queue = CallQueue(100, 1000)
    dispatcher = Dispatcher(queue, Batching(), WorkerOptions(max_frames_in_flight=2))
    calls, others = group(2), group(2)
    for ticket in calls.tickets:
        ticket.deaths = 1
    dispatcher.suspect(calls.tickets)
    queue.put(others.tickets)
    dispatcher.attach(worker.link)
    sizes: list[int] = []
    for _ in range(3):
        run = await worker.receive_run()
        dispatcher.pump()
        assert await worker.sees_nothing()
        sizes.append(len(run.calls))
        worker.answer(run)
    await others.done
    assert sizes == [1, 1, 2]


async def test_an_idle_worker_waits_for_company_if_told_to(worker: Worker) -> None:
    """With a batch timeout a lone call waits, until there are enough or the time is over."""
    queue = CallQueue(100, 1000)
    dispatcher = Dispatcher(queue, Batching(max_rows=3, timeout_micros=10_000_000), OPTIONS)
    dispatcher.attach(worker.link)
    calls = group(3)
    for ticket in calls.tickets:
        assert await worker.sees_nothing()
        queue.put([ticket])
        dispatcher.pump()
    assert len((await worker.receive_run()).calls) == 3


async def test_the_batch_timeout_sends_what_there_is(worker: Worker) -> None:
    """A lone call does not wait longer than the batch timeout."""
    queue = CallQueue(100, 1000)
    dispatcher = Dispatcher(queue, Batching(max_rows=3, timeout_micros=1000), OPTIONS)
    dispatcher.attach(worker.link)
    queue.put(group(1).tickets)
    dispatcher.pump()
    assert len((await worker.receive_run()).calls) == 1


async def test_detaching_returns_what_is_unanswered(worker: Worker) -> None:
    """Of the calls that a dead worker had, those without an answer come back."""
    queue = CallQueue(100, 1000)
    dispatcher = Dispatcher(queue, Batching(), OPTIONS)
    calls, later = group(3), group(1)
    queue.put(calls.tickets)
    dispatcher.attach(worker.link)
    run = await worker.receive_run()
    worker.answer(run, 1)
    while calls.tickets[1].answer is None:
        await asyncio.sleep(0)
    assert dispatcher.detach() == [calls.tickets[0], calls.tickets[2]]
    assert dispatcher.detach() == []
    queue.put(later.tickets)
    dispatcher.pump()
    assert dispatcher.drain() == later.tickets


async def test_new_batching_is_passed_on(worker: Worker) -> None:
    """The worker hears of a new bound on rows."""
    dispatcher = Dispatcher(CallQueue(100, 1000), Batching(), OPTIONS)
    dispatcher.attach(worker.link)
    dispatcher.rebatch(Batching(max_rows=5))
    assert await worker.receive() == frames.Rebatch(5)


async def test_a_call_too_long_for_a_frame_is_answered(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no frame can carry is refused with the sizes, and the worker lives."""
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    queue = CallQueue(100, 10_000)
    dispatcher = Dispatcher(queue, Batching(), OPTIONS)
    dispatcher.attach(worker.link)
    long, short = CallGroup([Call(Encoding.AVRO, bytes(200), 1e12)]), group(1)
    queue.put(long.tickets)
    dispatcher.pump()
    await long.done
    assert long.answers()[0].code is Code.RESOURCE_EXHAUSTED
    queue.put(short.tickets)
    dispatcher.pump()
    assert len((await worker.receive_run()).calls) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x00",
        bytes(frames.encode(frames.Loaded(b"", 0, 0))),
        bytes(frames.encode(frames.Ran(99, [], []))),
    ],
    ids=["length", "garbage", "unexpected", "unknown"],
)
async def test_a_worker_that_breaks_the_protocol_is_ended(worker: Worker, sent: bytes) -> None:
    """Bytes that make no sense end the worker, and the reason is kept."""
    lost = asyncio.Event()
    worker.link.on_end = lost.set
    Dispatcher(CallQueue(100, 1000), Batching(), OPTIONS).attach(worker.link)
    worker.writer.write(sent)
    async with asyncio.timeout(5):
        await lost.wait()
    assert (await worker.link.wait_exit()).startswith("it broke the protocol: ")
