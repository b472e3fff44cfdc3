"""What is taken and not delivered is bounded, and leaves in order."""

import asyncio
from dataclasses import dataclass

from headrace.consumer.stream.flight import Batch, Flight
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing
from headrace.consumer.stream.requests import Requests


@dataclass(frozen=True)
class Record:
    """A record as a consumer hands it out."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    offset: int = 0
    topic: str = "requests"
    partition: int = 0
    timestamp: int = 0


class Answers:
    """Batches whose answers come when the test says so."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._gates: list[asyncio.Event] = []

    def batch(self, size_bytes: int = 1) -> Batch:
        """Return a batch that waits for its `finish`."""
        gate = asyncio.Event()
        self._gates.append(gate)
        requests = Requests([Record(bytes(size_bytes))], default_deadline_seconds=1)
        return Batch(requests, self._tasks.create_task(self._answer(gate)))

    async def _answer(self, gate: asyncio.Event) -> list[Outgoing]:
        await gate.wait()
        return []

    def finish(self, number: int) -> None:
        """Let a batch be answered."""
        self._gates[number].set()


def options(batches: int = 3, size_bytes: int = 1000) -> StreamOptions:
    return StreamOptions(node="n", max_in_flight_batches=batches, max_in_flight_bytes=size_bytes)


async def test_returns_batches_in_the_order_in_which_they_boarded() -> None:
    """A batch that is answered early waits for those before it, and then goes with them."""
    flight = Flight(options())
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        first, second, third = (answers.batch() for _ in range(3))
        for batch in (first, second, third):
            flight.board(batch)
        answers.finish(1)
        waiting = tasks.create_task(flight.next_ready())
        await asyncio.wait([second.answering])
        assert not waiting.done()
        answers.finish(0)
        assert await waiting == [first, second]
        flight.land(2)
        answers.finish(2)
        assert await flight.next_ready() == [third]
        flight.land(1)
        await flight.wait_empty()


async def test_has_room_up_to_a_number_of_batches() -> None:
    """One more than the bound does not board."""
    flight = Flight(options(batches=2))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        flight.board(answers.batch())
        assert flight.has_room
        flight.board(answers.batch())
        assert not flight.has_room
        answers.finish(0)
        await flight.next_ready()
        flight.land(1)
        assert flight.has_room
        flight.give_up()


async def test_has_room_up_to_a_number_of_bytes() -> None:
    """Large requests count for more."""
    flight = Flight(options(size_bytes=100))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        flight.board(answers.batch(100))
        assert not flight.has_room
        answers.finish(0)
        await flight.next_ready()
        flight.land(1)
        assert flight.has_room


async def test_giving_up_cancels_what_is_in_flight() -> None:
    """Nobody waits for an abandoned batch any longer."""
    flight = Flight(options(batches=1))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        batch = Answers(tasks).batch()
        flight.board(batch)
        flight.give_up()
        await flight.wait_empty()
        await flight.wait_room()
        await asyncio.wait([batch.answering])
    assert batch.answering.cancelled()
