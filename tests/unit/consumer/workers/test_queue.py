"""The queue of one version: bounded, in order, and rid of what nobody waits for."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from headrace.consumer.core.calls import Answer, Call, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import QueueFull
from headrace.consumer.workers.queue import CallGroup, CallQueue, Ticket

OK = Answer(Code.OK)


def group(*sizes: int, deadline: float = 100.0) -> CallGroup:
    """Return a group of calls with payloads of these sizes."""
    return CallGroup([Call(Encoding.AVRO, bytes(size), deadline) for size in sizes])


def take(queue: CallQueue, calls: int = 99, size: int = 999) -> list[Ticket]:
    """Take what there is at time 0."""
    return queue.take(calls, size, now=0.0)


async def test_gives_calls_out_in_order_and_bounded() -> None:
    """Calls leave in the order they came, as many as a frame may have."""
    queue, calls = CallQueue(10, 100), group(1, 1, 1, 1)
    queue.put(calls.tickets)
    assert take(queue, calls=3) == calls.tickets[:3]
    assert take(queue, calls=3) == calls.tickets[3:]
    assert take(queue) == []


async def test_bytes_bound_a_frame_but_never_block_it() -> None:
    """A frame takes what fits its bytes, and one call of any size."""
    queue, calls = CallQueue(10, 10_000), group(500, 10, 10, 985)
    queue.put(calls.tickets)
    assert [len(take(queue, size=400)) for _ in range(3)] == [1, 2, 1]


@pytest.mark.parametrize("sizes", [[1], [1, 1, 1]])
async def test_refuses_all_or_nothing_when_full(sizes: list[int]) -> None:
    """Past the bound of calls nothing is queued, and the text says how full it is."""
    queue = CallQueue(2, 100)
    queue.put(group(1, 1).tickets)
    with pytest.raises(QueueFull, match=r"2 calls and 2 bytes wait \(at most 2 and 100\)"):
        queue.put(group(*sizes).tickets)
    assert len(queue) == 2


async def test_refuses_past_the_bound_of_bytes() -> None:
    """Bytes count as calls do."""
    queue = CallQueue(10, 100)
    queue.put(group(60).tickets)
    with pytest.raises(QueueFull):
        queue.put(group(41).tickets)
    queue.put(group(40).tickets)


async def test_an_empty_queue_takes_anything() -> None:
    """No bound makes a call impossible to place."""
    queue = CallQueue(1, 1)
    queue.put(group(500, 500).tickets)
    assert len(queue) == 2


async def test_queues_what_fits_and_wakes_for_the_rest() -> None:
    """Callers that may wait are let in piece by piece, in order."""
    queue, calls = CallQueue(2, 100), group(1, 1, 1)
    remaining = deque(calls.tickets)
    queue.put_some(remaining)
    assert list(remaining) == calls.tickets[2:]
    waiting = asyncio.create_task(queue.wait_room())
    await asyncio.sleep(0)  # The task has run up to its wait.
    assert not waiting.done()
    assert take(queue, calls=1) == calls.tickets[:1]
    await waiting
    queue.put_some(remaining)
    assert not remaining
    assert take(queue) == calls.tickets[1:]


async def test_expired_calls_are_answered_and_not_given_out() -> None:
    """What expires in the queue takes no place in a frame."""
    queue, late, early = CallQueue(10, 100), group(1, deadline=100.0), group(1, deadline=5.0)
    queue.put([*early.tickets, *late.tickets])
    assert queue.take(1, 100, now=5.0) == late.tickets
    await early.done
    assert early.answers()[0].code is Code.DEADLINE_EXCEEDED


async def test_answered_calls_give_up_their_place() -> None:
    """A call that nobody waits for any more counts no longer, and is never given out."""
    queue, gone, calls = CallQueue(2, 100), group(1, 1), group(1, 1)
    queue.put(gone.tickets)
    for ticket in gone.tickets:
        queue.settle(ticket, OK)
    queue.sweep()
    queue.put(calls.tickets)
    assert take(queue) == calls.tickets


async def test_sweeping_bounds_what_is_kept() -> None:
    """Calls that time out behind a stuck worker do not pile up."""
    queue, first = CallQueue(10, 100), group(1)
    queue.put(first.tickets)
    for _ in range(1000):
        each = group(1)
        queue.put(each.tickets)
        queue.settle(each.tickets[0], OK)
        queue.sweep()
    assert queue.kept < 100
    assert take(queue) == first.tickets


async def test_draining_returns_what_waits() -> None:
    """Everything unanswered comes out, once."""
    queue, calls = CallQueue(10, 100), group(1, 1)
    queue.put(calls.tickets)
    queue.settle(calls.tickets[0], OK)
    assert queue.drain() == calls.tickets[1:]
    assert len(queue) == 0
    assert queue.drain() == []


async def test_a_group_is_done_with_its_last_answer() -> None:
    """Answers come in any order; a second answer to a call changes nothing."""
    calls = group(1, 1)
    calls.tickets[1].settle(OK)
    calls.tickets[1].settle(Answer(Code.INTERNAL))
    assert not calls.done.done()
    calls.tickets[0].settle(Answer(Code.NOT_FOUND))
    await calls.done
    assert [answer.code for answer in calls.answers()] == [Code.NOT_FOUND, Code.OK]
