"""The queue of one version: bounded, in order, and rid of what nobody waits for."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import QueueFull
from headrace.consumer.workers.queue import EXPIRED, CallQueue, Ticket

GONE = Fault(Code.UNAVAILABLE, message="gone")


def ticket(*sizes: int, deadline: float = 100.0) -> Ticket:
    """Return a ticket for calls with payloads of these sizes."""
    return Ticket(Calls(Encoding.AVRO, [bytes(size) for size in sizes], [deadline] * len(sizes)))


def put(queue: CallQueue, *tickets: Ticket) -> list[Ticket]:
    """Queue tickets, and return them."""
    for each in tickets:
        queue.put(each)
    return list(tickets)


def take(queue: CallQueue, calls: int = 99, size: int = 999) -> list[Ticket]:
    """Take what there is at time 0."""
    return queue.take(calls, size, now=0.0)


async def test_gives_tickets_out_in_order_and_bounded() -> None:
    """Calls leave in the order they came, as many as a frame may have."""
    queue = CallQueue(10, 100)
    tickets = put(queue, ticket(1, 1), ticket(1), ticket(1, 1), ticket(1))
    assert queue.calls == 6
    assert take(queue, calls=3) == tickets[:2]
    assert take(queue, calls=3) == tickets[2:]
    assert take(queue) == []
    assert queue.calls == 0


async def test_bytes_bound_a_frame_but_never_block_it() -> None:
    """A frame takes what fits its bytes, and one ticket of any size."""
    queue = CallQueue(10, 10_000)
    put(queue, ticket(300, 200), ticket(10), ticket(10), ticket(985))
    assert [len(take(queue, size=400)) for _ in range(3)] == [1, 2, 1]


async def test_a_ticket_is_never_cut() -> None:
    """A ticket with more calls than a frame has leaves whole, and alone."""
    queue = CallQueue(10, 100)
    tickets = put(queue, ticket(1, 1, 1), ticket(1))
    assert [take(queue, calls=2) for _ in range(2)] == [tickets[:1], tickets[1:]]


@pytest.mark.parametrize("sizes", [[1], [1, 1, 1]])
async def test_refuses_all_or_nothing_when_full(sizes: list[int]) -> None:
    """Past the bound of calls nothing is queued, and the text says how full it is."""
    queue = CallQueue(2, 100)
    queue.put(ticket(1, 1))
    with pytest.raises(QueueFull, match=r"2 calls and 2 bytes wait \(at most 2 and 100\)"):
        queue.put(ticket(*sizes))
    assert queue.calls == 2


async def test_refuses_past_the_bound_of_bytes() -> None:
    """Bytes count as calls do."""
    queue = CallQueue(10, 100)
    queue.put(ticket(60))
    with pytest.raises(QueueFull):
        queue.put(ticket(20, 21))
    queue.put(ticket(20, 20))


async def test_an_empty_queue_takes_anything() -> None:
    """No bound makes a call impossible to place."""
    queue = CallQueue(1, 1)
    queue.put(ticket(500, 500))
    assert queue.calls == 2


async def test_wakes_those_who_wait_for_room() -> None:
    """Whoever waits looks again when something left."""
    queue, late = CallQueue(2, 100), ticket(1)
    first = put(queue, ticket(1, 1))
    assert not queue.has_room(late)
    waiting = [asyncio.create_task(queue.wait_room()) for _ in range(2)]
    await asyncio.sleep(0)  # The tasks have run up to their wait.
    assert not any(task.done() for task in waiting)
    assert take(queue) == first
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    assert queue.has_room(late)


async def test_expired_tickets_are_answered_and_not_given_out() -> None:
    """What expires in the queue takes no place in a frame."""
    queue, late, early = CallQueue(10, 100), ticket(1, deadline=100.0), ticket(1, 1, deadline=5.0)
    put(queue, early, late)
    assert queue.take(1, 100, now=5.0) == [late]
    await early.done
    assert early.answers() == ([b"", b""], {0: EXPIRED, 1: EXPIRED})


async def test_a_ticket_lives_as_long_as_one_of_its_calls() -> None:
    """The worker sorts out which calls of a ticket have expired; the queue drops none of them."""
    queue = CallQueue(10, 100)
    mixed = Ticket(Calls(Encoding.AVRO, [b"a", b"b"], [5.0, 100.0]))
    queue.put(mixed)
    assert queue.take(10, 100, now=50.0) == [mixed]
    assert not mixed.done.done()


async def test_withdrawn_tickets_give_up_their_place() -> None:
    """A ticket that nobody waits for any more counts no longer, and is never given out."""
    queue, gone, wanted = CallQueue(2, 100), ticket(1, 1), ticket(1, 1)
    queue.put(gone)
    queue.withdraw(gone)
    queue.withdraw(gone)
    queue.put(wanted)
    assert take(queue) == [wanted]


async def test_withdrawing_wakes_those_who_wait() -> None:
    """A caller that goes away makes room for another one."""
    queue, gone = CallQueue(1, 100), ticket(1)
    queue.put(gone)
    waiting = asyncio.create_task(queue.wait_room())
    await asyncio.sleep(0)  # The task has run up to its wait.
    queue.withdraw(gone)
    async with asyncio.timeout(5):
        await waiting


async def test_tells_when_to_come_back_by_its_pace() -> None:
    """Frames of 2 calls that left 0.1 s apart make 6 waiting calls 0.3 s long."""
    queue = CallQueue(10, 100)
    put(queue, *[ticket(1) for _ in range(10)])
    for now in (10.0, 10.1):
        queue.take(2, 100, now=now)
    assert queue.retry_after_seconds(10.1) == pytest.approx(0.3)


async def test_time_without_calls_is_no_pace() -> None:
    """A queue that was empty for an hour is not slow for it, however it became empty."""
    queue = CallQueue(10, 100)
    for now in (10.0, 10.1, 3600.0, 3600.1, 7200.0, 7200.1):
        kept, gone = put(queue, ticket(1, 1, deadline=1e9), ticket(1, 1, deadline=1e9))
        assert queue.take(2, 100, now=now) == [kept]
        if now % 1:
            queue.withdraw(gone)
        else:
            assert queue.take(2, 100, now=now + 0.1) == [gone]
    put(queue, *[ticket(1, deadline=1e9) for _ in range(10)])
    assert queue.retry_after_seconds(9000.0) == pytest.approx(0.5)


async def test_time_to_come_back_is_bounded() -> None:
    """Neither at once, nor after the long while that a stuck worker makes it look like."""
    queue = CallQueue(10, 100)
    assert queue.retry_after_seconds(10.0) == 0.05
    put(queue, *[ticket(1) for _ in range(10)])
    queue.take(2, 100, now=10.0)
    assert queue.retry_after_seconds(11.0) == pytest.approx(1.0)
    assert queue.retry_after_seconds(99.0) == 5.0


async def test_a_refusal_says_when_to_come_back() -> None:
    """The error carries the time, and its text says it."""
    queue = CallQueue(1, 100)
    queue.put(ticket(1))
    with pytest.raises(QueueFull, match=r"try again in 0\.05 s") as refusal:
        queue.put(ticket(1))
    assert refusal.value.retry_after_seconds == 0.05


async def test_sweeping_bounds_what_is_kept() -> None:
    """Calls that time out behind a stuck worker do not pile up."""
    queue, first = CallQueue(10, 100), ticket(1)
    queue.put(first)
    for _ in range(1000):
        each = ticket(1)
        queue.put(each)
        queue.withdraw(each)
    assert queue.kept < 100
    assert take(queue) == [first]


async def test_draining_returns_what_waits() -> None:
    """Everything that waits comes out, once."""
    queue, gone, waits = CallQueue(10, 100), ticket(1), ticket(1)
    put(queue, gone, waits)
    queue.withdraw(gone)
    assert queue.drain() == [waits]
    assert queue.calls == 0
    assert queue.drain() == []


async def test_a_ticket_is_done_with_its_last_answer() -> None:
    """Answers come in any order; a second answer to a call changes nothing."""
    calls = ticket(1, 1)
    calls.settle(1, b"", GONE)
    calls.settle(1, b"late")
    assert not calls.done.done()
    assert calls.unanswered == [0]
    calls.settle(0, b"a")
    await calls.done
    assert calls.answers() == ([b"a", b""], {1: GONE})


async def test_answers_to_all_calls_at_once() -> None:
    """A whole frame's answers fill a ticket in one go."""
    calls = ticket(1, 1, 1)
    calls.settle_all([b"a", b"", b"c"], {1: GONE})
    await calls.done
    assert calls.answers() == ([b"a", b"", b"c"], {1: GONE})


async def test_answers_to_all_calls_spare_those_that_are_answered() -> None:
    """What a caller was told already stays, whatever a worker says of it later."""
    calls = ticket(1, 1, 1)
    calls.settle(0, b"", EXPIRED)
    calls.settle_all([b"a", b"b", b""], {2: GONE})
    await calls.done
    assert calls.answers() == ([b"", b"b", b""], {0: EXPIRED, 2: GONE})


async def test_the_rest_gets_one_fault() -> None:
    """Whatever is unanswered is settled, and an empty answer counts as one."""
    calls = ticket(1, 1, 1)
    calls.settle(1, b"")
    calls.settle_rest(GONE)
    await calls.done
    assert calls.answers() == ([b"", b"", b""], {0: GONE, 2: GONE})


async def test_a_call_that_would_come_too_late_is_refused() -> None:
    """Behind a backlog that takes longer than its deadline; one that has the time is taken."""
    queue = CallQueue(10_000, 1 << 30)
    now = time.monotonic()
    for _ in range(300):
        queue.put(Ticket(Calls(Encoding.AVRO, [b""], [math.inf])))
    queue.take(100, 1 << 20, now - 1)
    queue.take(100, 1 << 20, now)  # a hundred a second, and a hundred wait
    with pytest.raises(QueueFull, match="its deadline is too near for that"):
        queue.check_in_time(Ticket(Calls(Encoding.AVRO, [b""], [now + 0.5])), 0)
    queue.check_in_time(Ticket(Calls(Encoding.AVRO, [b""], [now + 60])), 0)
    with pytest.raises(QueueFull, match="10100 calls come before"):
        queue.check_in_time(Ticket(Calls(Encoding.AVRO, [b""], [now + 60])), 10_000)


async def test_a_short_queue_refuses_nobody_for_time() -> None:
    """A few calls tell nothing of the time that they take."""
    queue = CallQueue(10, 1 << 30)
    queue.put(Ticket(Calls(Encoding.AVRO, [b""], [math.inf])))
    queue.check_in_time(Ticket(Calls(Encoding.AVRO, [b""], [time.monotonic()])), 0)
