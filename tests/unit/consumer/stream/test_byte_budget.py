"""Bytes lent out: never more than there are, in the order of asking, and all come back."""

from __future__ import annotations

import asyncio

import pytest

from headrace.consumer.stream.byte_budget import ByteBudget


async def ready(*tasks: asyncio.Future[None]) -> list[bool]:
    """Let everything run that can, and return which tasks are done."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_lends_what_there_is_and_makes_the_rest_wait() -> None:
    """What is given back goes to whoever waits."""
    budget = ByteBudget(10)
    await budget.acquire(7)
    waiting = asyncio.ensure_future(budget.acquire(4))
    assert await ready(waiting) == [False]
    budget.release(7)
    assert await ready(waiting) == [True]


async def test_a_large_wish_is_not_passed_by_small_ones() -> None:
    """Otherwise a stream of small ones would keep it waiting for ever."""
    budget = ByteBudget(10)
    await budget.acquire(5)
    large = asyncio.ensure_future(budget.acquire(10))
    small = asyncio.ensure_future(budget.acquire(1))
    assert await ready(large, small) == [False, False]
    budget.release(5)
    assert await ready(large, small) == [True, False]
    budget.release(10)
    assert await ready(small) == [True]


async def test_whoever_stops_waiting_lets_the_next_one_go() -> None:
    """A large wish that is given up no longer stands before small ones."""
    budget = ByteBudget(10)
    await budget.acquire(5)
    large = asyncio.ensure_future(budget.acquire(10))
    small = asyncio.ensure_future(budget.acquire(5))
    assert await ready(large, small) == [False, False]
    large.cancel()
    assert await ready(large, small) == [True, True]
    with pytest.raises(asyncio.CancelledError):
        await large


async def test_bytes_granted_to_a_caller_that_just_left_come_back() -> None:
    """Granted and cancelled in the same moment, in either order, nothing is lost."""
    budget = ByteBudget(10)
    for order in ("granted first", "cancelled first"):
        await budget.acquire(10)
        leaving = asyncio.ensure_future(budget.acquire(10))
        await ready(leaving)
        if order == "granted first":
            budget.release(10)
            leaving.cancel()
        else:
            leaving.cancel()
            budget.release(10)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        async with asyncio.timeout(5):
            await budget.acquire(10)
        budget.release(10)
