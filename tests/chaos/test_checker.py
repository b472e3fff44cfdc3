"""The checker tells a good run from each kind of bad one: evidence doctored by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import NEIGHBOUR_SHIFT, Delivery, check
from tests.chaos.evidence import Answer, Evidence, Kind, Letter, Request, VersionEvent
from tests.chaos.versions import expected_value

Change = Callable[[Answer], Answer]

SWAPPED_AT_MS = 2_000
BOUND_SECONDS = 5.0


def asked(number: int, kind: Kind = Kind.PLAIN) -> Request:
    """Return the request of a number: two partitions take turns."""
    return Request(number, kind, number % 2, number // 2, b"key-%d" % (number % 4))


def answered(request: Request, *, code: str = "OK", value: float | None = None) -> Answer:
    """Return a right answer: by version 1 up to the swap, by version 2 afterwards."""
    at_ms = 1_100 + 100 * request.number
    version = 1 if at_ms < SWAPPED_AT_MS else 2
    if request.kind is Kind.PLAIN and code == "OK":
        value = expected_value(request.number, version)
    return Answer(
        number=request.number,
        partition=request.partition,
        offset=request.offset,
        key=request.key,
        at_ms=at_ms,
        code=code,
        value=value,
        version=version,
        control_offset=10 * version,
    )


def good_run() -> Evidence:
    """Return twenty plain requests, one poisonous and one deadly one, and a neighbour; all well."""
    plain = [asked(number) for number in range(20)]
    poison, deadly = asked(20, Kind.GARBAGE), asked(21, Kind.DEADLY)
    neighbour, nameless = asked(22, Kind.NEIGHBOUR), asked(23, Kind.NAMELESS)
    return Evidence(
        requests=[*plain, poison, deadly, neighbour, nameless],
        answers=[
            *(answered(request) for request in plain),
            answered(poison, code="INVALID_ARGUMENT"),
            answered(deadly, code="UNAVAILABLE"),
            answered(neighbour, value=22 + NEIGHBOUR_SHIFT),
        ],
        letters=[
            Letter(20, poison.partition, poison.offset, 0),
            Letter(23, nameless.partition, nameless.offset, 1),
        ],
        events=[
            VersionEvent(10, 1_000, 1, is_published=True),
            VersionEvent(20, SWAPPED_AT_MS, 2, is_published=True),
            VersionEvent(21, SWAPPED_AT_MS, 1, is_published=False),
        ],
        confirmed=frozenset(range(24)),
    )


def found(evidence: Evidence, delivery: Delivery = "exactly_once") -> dict[str, int]:
    """Return how many flaws of each kind the checker finds."""
    violations = check(evidence, bound_seconds=BOUND_SECONDS).violations(delivery)
    return {name: len(flaws) for name, flaws in violations.items()}


def with_answer(number: int, change: Change) -> Evidence:
    """Return the good run with one answer changed."""
    run = good_run()
    return replace(
        run, answers=[change(each) if each.number == number else each for each in run.answers]
    )


def test_finds_nothing_in_a_good_run() -> None:
    """What must be clean is clean, for both guarantees."""
    assert not found(good_run())
    assert not found(good_run(), "at_least_once")


@pytest.mark.parametrize("number", [7, 20, 21, 22])
def test_finds_a_lost_answer(number: int) -> None:
    """Each kind of request misses its answer, for both guarantees."""
    run = good_run()
    run = replace(run, answers=[each for each in run.answers if each.number != number])
    assert found(run) == {"lost": 1}
    assert found(run, "at_least_once") == {"lost": 1}


@pytest.mark.parametrize("number", [7, 20, 21, 22])
def test_finds_a_doubled_answer(number: int) -> None:
    """A second answer breaks exactly-once, and at-least-once allows it."""
    run = good_run()
    [again] = [replace(each, offset=99) for each in run.answers if each.number == number]
    run = replace(run, answers=[*run.answers, again])
    assert found(run) == {"doubled": 1}
    assert not found(run, "at_least_once")
    assert len(check(run).doubled) == 1


def test_finds_swapped_order() -> None:
    """Two answers of one input partition that changed places."""
    run = good_run()
    places = {4: 3, 6: 2}
    run = replace(
        run,
        answers=[
            replace(each, offset=places[each.number]) if each.number in places else each
            for each in run.answers
        ],
    )
    assert found(run) == {"out of order": 1}
    assert found(run, "at_least_once") == {"out of order": 1}


def test_finds_an_answer_in_another_partition() -> None:
    """A key's answers must not be spread: no reader could tell their order."""
    assert found(with_answer(7, lambda it: replace(it, partition=0, offset=99))) == {
        "out of order": 1
    }


def test_a_late_second_answer_is_no_disorder() -> None:
    """At least once, the first answers count for the order."""
    run = good_run()
    run = replace(run, answers=[*run.answers, replace(run.answers[0], offset=99)])
    assert not found(run, "at_least_once")


WRONG: dict[str, Change] = {
    "no value of any version": lambda it: replace(it, value=1234.0),
    "the value of the other version": lambda it: replace(it, value=expected_value(5, 2)),
    "the header of the other version": lambda it: replace(it, version=2),
    "no version": lambda it: replace(it, version=None),
    "a version that was never published": lambda it: replace(
        it, version=3, control_offset=30, value=expected_value(5, 3)
    ),
    "a version that was published later": lambda it: replace(
        it, version=2, control_offset=20, value=expected_value(5, 2)
    ),
    "the event that retired it": lambda it: replace(it, control_offset=21),
    "a version long replaced": lambda it: replace(
        it, at_ms=SWAPPED_AT_MS + 1000 * int(BOUND_SECONDS) + 1
    ),
    "an error": lambda it: replace(it, code="UNAVAILABLE", value=None),
    "another key": lambda it: replace(it, key=b"another"),
}


@pytest.mark.parametrize("what", WRONG)
def test_finds_an_answer_that_is_wrong(what: str) -> None:
    """Its value, its code, its key, or where it claims to come from."""
    assert found(with_answer(5, WRONG[what])) == {"wrong": 1}


def test_grants_an_old_version_the_time_of_a_swap() -> None:
    """Within the bound the former version may still answer."""
    run = with_answer(5, lambda it: replace(it, at_ms=SWAPPED_AT_MS + 1000 * int(BOUND_SECONDS)))
    verdict = check(run, bound_seconds=BOUND_SECONDS)
    assert not verdict.violations("exactly_once")
    assert verdict.slowest_swap_seconds == BOUND_SECONDS


def test_finds_an_answer_that_nobody_asked_for() -> None:
    """An unknown number, and an answer to a request that cannot be addressed."""
    run = good_run()
    strangers = [answered(asked(99)), answered(asked(23, Kind.NAMELESS))]
    assert found(replace(run, answers=[*run.answers, *strangers])) == {"wrong": 2}


@pytest.mark.parametrize(
    ("letters", "flaws"),
    [
        ([0], {"lost": 1}),
        ([0, 1, 1], {"doubled": 1}),
        ([1, 0], {}),
    ],
)
def test_finds_dead_letters_lost_and_doubled(letters: list[int], flaws: dict[str, int]) -> None:
    """Of different partitions they may come in any order."""
    run = good_run()
    kept = [replace(run.letters[index], position=at) for at, index in enumerate(letters)]
    assert found(replace(run, letters=kept)) == flaws


def test_finds_a_dead_letter_that_nothing_called_for() -> None:
    """One of a good request, and one of no request at all."""
    run = good_run()
    strangers = [Letter(4, 0, 2, -1), Letter(None, 0, 77, 6)]
    assert found(replace(run, letters=[*run.letters, *strangers])) == {"wrong": 2}


def test_a_neighbour_may_fail_only_where_something_deadly_was_asked() -> None:
    """An error for a good request is excused by a deadly one, and by nothing else."""
    run = with_answer(22, lambda it: replace(it, code="UNAVAILABLE", value=None))
    assert not found(run)
    assert check(run).excused == 1
    peaceful = replace(
        run,
        requests=[each for each in run.requests if each.kind is not Kind.DEADLY],
        answers=[each for each in run.answers if each.number != 21],
        confirmed=frozenset(),
    )
    assert found(peaceful) == {"wrong": 1}


def test_distrusts_a_load_that_was_not_sound() -> None:
    """A number written twice, a confirmed one that is missing, an answer only seen live."""
    run = good_run()
    assert found(replace(run, confirmed=run.confirmed | {99})) == {"unsound": 1}
    twice = replace(asked(19), partition=0, offset=50)
    assert found(replace(run, requests=[*run.requests, twice]))["unsound"] == 1
    places = frozenset((each.partition, each.offset) for each in run.answers)
    assert not found(replace(run, seen=places))
    assert found(replace(run, seen=places | {(1, 99)})) == {"unsound": 1}
