"""Which deaths speak against a version."""

from __future__ import annotations

import pytest

from headrace.consumer.workers.deaths import Deaths


def deaths() -> Deaths:
    """Return a count that ends a version after 3 deaths within 60 s."""
    return Deaths(3, 60.0)


def test_deaths_without_an_answer_end_a_version() -> None:
    """Three workers that came and died, one after the other, are enough."""
    counted = deaths()
    for now in (1.0, 2.0, 3.0):
        assert counted.verdict(now) is None
        counted.count(now - 0.5, now, has_answered=False)
    assert counted.verdict(3.0) == "the worker died 3 times within 60 s"


def test_deaths_far_apart_do_not() -> None:
    """Only those within the window count together."""
    counted = deaths()
    for now in (1.0, 31.0, 62.0):
        counted.count(now - 0.5, now, has_answered=False)
    assert counted.verdict(62.0) is None


def test_an_answer_between_deaths_clears_the_version() -> None:
    """What died after an answer died of a request; what died before is forgiven."""
    counted = deaths()
    for now in (1.0, 2.0, 3.0, 4.0, 5.0):
        counted.count(now - 0.5, now, has_answered=now == 3.0)
    assert counted.verdict(5.0) is None


@pytest.mark.parametrize("workers", [2, 8])
def test_workers_that_die_together_die_once(workers: int) -> None:
    """However many workers a common cause takes along, it is one death."""
    counted = deaths()
    for generation in (10.0, 20.0):
        for number in range(workers):
            counted.count(generation, generation + 5 + number / 10, has_answered=False)
    assert counted.verdict(26.0) is None
    counted.count(30.0, 31.0, has_answered=False)
    assert counted.verdict(31.0) is not None


def test_suspects_that_all_kill_end_a_version() -> None:
    """Eight tests in vain in a row are not the fault of the requests."""
    counted = deaths()
    for _ in range(8):
        assert counted.verdict(0.0) is None
        counted.count_test(has_answered=False)
    assert counted.verdict(0.0) == "the worker died of 8 requests, one after the other"


def test_an_answer_among_suspects_clears_all_that_follow() -> None:
    """Of a version that answers one of them any number may kill."""
    counted = deaths()
    for number in range(50):
        counted.count_test(has_answered=number == 5)
    assert counted.verdict(0.0) is None


def test_crashes_at_the_start_count() -> None:
    """A worker that dies while it loads has answered nothing."""
    counted = deaths()
    for now in (1.0, 2.0, 3.0):
        counted.count_start(now)
    assert counted.verdict(3.0) is not None
