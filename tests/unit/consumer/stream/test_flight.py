"""What is taken and not committed is bounded, and leaves in order."""

import asyncio

from headrace.consumer.stream.flight import Batch, Flight
from headrace.consumer.stream.requests import Requests
from headrace.publisher.clients import KafkaError
from tests.fakes.records import Record


class Answers:
    """Batches whose answers come when the test says so."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._gates: list[asyncio.Event] = []

    def batch(self, size_bytes: int = 1, *, records: int = 1) -> Batch:
        """Return a batch that waits for its `finish`."""
        gate = asyncio.Event()
        self._gates.append(gate)
        messages = [Record(bytes(size_bytes))] * records
        requests = Requests(messages, default_deadline_seconds=1)
        return Batch(requests, self._tasks.create_task(self._answer(gate)))

    async def _answer(self, gate: asyncio.Event) -> None:
        await gate.wait()

    def finish(self, number: int) -> None:
        """Let a batch be answered."""
        self._gates[number].set()


def flight_of(records: int = 100, size_bytes: float = 1000) -> Flight:
    """Return an empty flight with these bounds."""
    return Flight(records, lambda: size_bytes)


async def test_returns_batches_in_the_order_in_which_they_boarded() -> None:
    """A batch that is answered early waits for those before it, and then goes with them."""
    flight = flight_of()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        first, second, third = (answers.batch() for _ in range(3))
        for batch in (first, second, third):
            flight.board(batch)
        answers.finish(1)
        waiting = tasks.create_task(flight.pick_up(None))
        await asyncio.wait([second.answering])
        assert not waiting.done()
        answers.finish(0)
        assert await waiting == [first, second]
        answers.finish(2)
        assert await flight.pick_up(None) == [third]
        flight.land()
        await flight.wait_empty()


async def test_what_is_picked_up_is_in_flight_until_it_lands() -> None:
    """A batch that was sent and not committed takes its room, and is not drained."""
    flight = flight_of(records=1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        flight.board(answers.batch())
        answers.finish(0)
        await flight.pick_up(None)
        emptied = tasks.create_task(flight.wait_empty())
        await asyncio.sleep(0)  # The task has run up to its wait.
        assert not flight.has_room
        assert not emptied.done()
        flight.land()
        assert flight.has_room
        await emptied


async def test_landing_leaves_what_was_not_picked_up() -> None:
    """Only what was committed goes."""
    flight = flight_of()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        first, second = answers.batch(), answers.batch()
        flight.board(first)
        flight.board(second)
        answers.finish(0)
        assert await flight.pick_up(None) == [first]
        flight.land()
        answers.finish(1)
        assert await flight.pick_up(None) == [second]


async def test_picking_up_ends_in_time() -> None:
    """Whoever has something to commit does not wait for what is not answered, nor for more."""
    flight = flight_of()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        assert await flight.pick_up(0.01) == []
        slow = answers.batch()
        flight.board(slow)
        assert await flight.pick_up(0.01) == []
        assert await flight.pick_up(-1) == []
        answers.finish(0)
        assert await flight.pick_up(5) == [slow]


async def test_being_woken_ends_the_wait_for_more() -> None:
    """Whoever is told to stop looks again, and finds nothing when nothing boards any more."""
    flight = flight_of()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(flight.pick_up(60))
        await asyncio.sleep(0)  # The task has run up to its wait.
        flight.wake()
        assert await waiting == []


async def test_has_room_up_to_a_number_of_records() -> None:
    """One more batch boards as long as there are fewer records than the bound."""
    flight = flight_of(records=10)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        flight.board(answers.batch(records=9))
        assert flight.has_room
        flight.board(answers.batch(records=5))
        assert not flight.has_room
        answers.finish(0)
        await flight.pick_up(None)
        flight.land()
        assert flight.has_room
        flight.give_up(None)


async def test_has_room_up_to_a_number_of_bytes() -> None:
    """Large requests count for more; an empty flight takes one of any size."""
    bounds = [100.0]
    flight = Flight(100, lambda: bounds[0])
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        assert flight.has_room
        flight.board(answers.batch(100))
        assert not flight.has_room
        bounds[0] = 101
        assert flight.has_room
        bounds[0] = 0
        answers.finish(0)
        await flight.pick_up(None)
        flight.land()
        assert flight.has_room


async def test_waits_for_room_until_it_is_over() -> None:
    """Whoever waits for room is let go when something lands, and when told to stop."""
    flight = flight_of(records=1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers, over = Answers(tasks), asyncio.Event()
        flight.board(answers.batch())
        waiting = tasks.create_task(flight.wait_room(over.is_set))
        stopped = tasks.create_task(flight.wait_room(over.is_set))
        await asyncio.sleep(0)  # The tasks have run up to their wait.
        over.set()
        flight.wake()
        await stopped
        await waiting
        over.clear()
        waiting = tasks.create_task(flight.wait_room(over.is_set))
        answers.finish(0)
        await flight.pick_up(None)
        assert not waiting.done()
        flight.land()
        await waiting


async def test_giving_up_cancels_what_is_in_flight() -> None:
    """Nobody waits for an abandoned batch any longer, and why it was is known."""
    flight, failure = flight_of(records=2), KafkaError("gone")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        picked, batch = answers.batch(), answers.batch()
        flight.board(picked)
        flight.board(batch)
        answers.finish(0)
        await flight.pick_up(None)
        full = tasks.create_task(flight.wait_room(lambda: False))
        await asyncio.sleep(0)  # The task has run up to its wait.
        assert flight.failure is None
        flight.give_up(failure)
        await flight.wait_empty()
        await full
        await asyncio.wait([batch.answering])
    assert batch.answering.cancelled()
    assert flight.failure is failure


async def test_drops_what_waits_for_a_control_record_and_all_behind_it() -> None:
    """A partition that goes is emptied of it; what stands before stays, and leaves as ever."""
    flight = flight_of()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answers = Answers(tasks)
        before, late, behind = (answers.batch() for _ in range(3))
        late.requests.waiting.add(0)
        for batch in (before, late, behind):
            flight.board(batch)
        waiting = tasks.create_task(flight.pick_up(None))
        flight.drop_waiting()
        answers.finish(0)
        assert await waiting == [before]
        flight.land()
        await flight.wait_empty()
        await asyncio.wait([late.answering, behind.answering])
        assert late.answering.cancelled()
        assert behind.answering.cancelled()
        flight.board(late)
        flight.drop_waiting()
        await flight.wait_empty()
