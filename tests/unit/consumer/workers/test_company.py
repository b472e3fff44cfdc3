"""How many calls a frame waits for, learned from the frames before it."""

from __future__ import annotations

from headrace.consumer.workers.company import Company


def waits(company: Company, callers: int, frames: int) -> int:
    """Send so many frames for callers who always come together; return how many waited in vain."""
    in_vain = 0
    for _ in range(frames):
        if company.wanted > callers:
            in_vain += 1
            company.stayed_away(callers)
        else:
            company.came(company.wanted)
    return in_vain


def test_a_lone_caller_hardly_ever_waits() -> None:
    """The first call goes at once, and a wait in vain comes once in some hundred frames."""
    company = Company()
    assert company.wanted == 1
    assert waits(company, 1, 10_000) <= 10_000 // 256 + 10


def test_a_few_callers_hardly_ever_wait_for_more() -> None:
    """Three who come together are waited for, and a fourth who is not there seldom is."""
    company = Company()
    waits(company, 3, 1_000)
    assert waits(company, 3, 10_000) <= 10_000 // 256 + 10
    assert company.wanted in {3, 4}


def test_many_callers_share_a_frame() -> None:
    """When more come in time than were waited for, more are waited for, up to a bound."""
    company = Company()
    waits(company, 1_000, 100)
    assert company.wanted == 64


def test_a_full_queue_tells_at_once() -> None:
    """Calls that queued while the worker was busy show how many come together."""
    company = Company()
    company.came(20)
    assert company.wanted == 20


def test_one_straggler_does_not_end_the_company() -> None:
    """After a wait in vain half as many are waited for, however few came."""
    company = Company()
    company.came(40)
    company.stayed_away(1)
    assert company.wanted == 20
