"""What waits to be mirrored: how it is drawn, its bounds, and the count of what it lets go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Answers, Calls, Encoding, Fault
from headrace.consumer.core.choice import Choice, Serving
from headrace.consumer.core.codes import Code
from headrace.consumer.shadow.lane import Lane, LaneOptions
from tests.fakes.servable import FakeServable, planned_version

ROOMY = LaneOptions(max_calls=1_000_000, max_bytes=2**30)


async def _choice() -> Choice:
    planned = planned_version("m", 1)
    return Choice(Serving(planned, FakeServable(planned)))


@pytest.fixture
async def choice() -> Choice:
    """What requests were routed to."""
    return await _choice()


def calls(count: int, encoding: Encoding = Encoding.AVRO) -> Calls:
    """Return so many calls, each with its number as payload."""
    return Calls(encoding, [b"q%d" % n for n in range(count)], [0.0] * count)


def answers(count: int, faults: Mapping[int, Fault] | None = None) -> Answers:
    """Return an answer to each, with its number as payload."""
    return Answers([b"a%d" % n for n in range(count)], dict(faults or {}))


def drawn(lane: Lane) -> list[tuple[bytes, bytes | Fault]]:
    """Take everything out, as pairs of request and answer."""
    found: list[tuple[bytes, bytes | Fault]] = []
    while lane:
        for sample in lane.take():
            found += zip(sample.payloads, sample.answers, strict=True)
    return found


def test_all_are_drawn_in_order_when_all_are_wanted(choice: Choice) -> None:
    """Each with the answer that it got."""
    lane = Lane(ROOMY)
    lane.draw(choice, calls(1000), answers(1000), 0.1, 1.0)
    assert drawn(lane) == [(b"q%d" % n, b"a%d" % n) for n in range(1000)]
    assert lane.missed == 0


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_share_is_drawn_whether_calls_come_alone_or_together(choice: Choice, size: int) -> None:
    """A fraction of a batch, and of single calls; all calls have the same chance."""
    lane, total = Lane(ROOMY), 20_000
    for _ in range(total // size):
        lane.draw(choice, calls(size), answers(size), 0.1, 0.25)
    found = drawn(lane)
    # Ten standard deviations of 20,000 independent draws.
    assert abs(len(found) - total / 4) < 10 * (total * 0.25 * 0.75) ** 0.5
    assert all(answer == b"a" + request[1:] for request, answer in found if answer)
    if size == 10:
        assert {request for request, _ in found} == {b"q%d" % n for n in range(10)}


def test_what_has_no_room_is_counted(choice: Choice) -> None:
    """The bound of calls cuts a batch, that of bytes leaves it out; room comes back."""
    lane = Lane(LaneOptions(max_calls=5, max_bytes=16))
    lane.draw(choice, calls(8), answers(8), 0.1, 1.0)
    assert lane.missed == 8, "20 bytes are over the bound"
    lane.draw(choice, calls(3), answers(3), 0.1, 1.0)
    assert lane.missed == 8
    lane.draw(choice, calls(9), answers(9), 0.1, 1.0)
    assert lane.missed == 8 + 9, "2 of 9 have room, and then no bytes"
    assert len(drawn(lane)) == 3
    lane.draw(choice, calls(3), answers(3), 0.1, 1.0)
    assert len(drawn(lane)) == 3
    assert (lane.take_missed(), lane.take_missed()) == (17, 0)


@pytest.mark.parametrize(
    "code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.CANCELLED]
)
def test_errors_of_the_moment_are_not_mirrored(choice: Choice, code: Code) -> None:
    """A request that has killed a worker is not sent to kill another; other errors are."""
    lane, refusal = Lane(ROOMY), Fault(Code.INVALID_ARGUMENT, "no")
    faults = {0: Fault(code, "gone"), 2: refusal}
    lane.draw(choice, calls(4), answers(4, faults), 0.1, 1.0)
    assert drawn(lane) == [(b"q1", b"a1"), (b"q2", refusal), (b"q3", b"a3")]
    assert lane.missed == 0


async def test_only_what_can_be_asked_together_is_taken_together(choice: Choice) -> None:
    """One version, one encoding, a bounded number; the order stays."""
    lane, other = Lane(ROOMY), await _choice()
    for who, encoding in (
        (choice, Encoding.AVRO),
        (choice, Encoding.AVRO),
        (choice, Encoding.OPEN_INFERENCE),
        (other, Encoding.OPEN_INFERENCE),
    ):
        lane.draw(who, calls(2, encoding), answers(2), 0.1, 1.0)
    assert [len(lane.take()) for _ in range(3)] == [2, 1, 1]
    for _ in range(300):
        lane.draw(choice, calls(1), answers(1), 0.1, 1.0)
    assert [len(lane.take()) for _ in range(2)] == [256, 44]
    lane.draw(choice, calls(1000), answers(1000), 0.1, 1.0)
    assert len(lane.take()) == 1, "what was asked together stays together"
    large = Calls(Encoding.AVRO, [bytes(3 * 2**20)], [0.0])
    for _ in range(5):
        lane.draw(choice, large, answers(1), 0.1, 1.0)
    assert [len(lane.take()) for _ in range(3)] == [2, 2, 1]


def test_clearing_counts_what_waited(choice: Choice) -> None:
    """Nothing that was drawn is forgotten."""
    lane = Lane(ROOMY)
    lane.draw(choice, calls(7), answers(7), 0.1, 1.0)
    lane.clear()
    assert (lane.missed, len(lane)) == (7, 0)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 60),
    st.integers(1, 400),
)
def test_every_drawn_call_is_taken_waits_or_was_missed(
    steps: Sequence[tuple[int, bool, bool]], max_calls: int, max_bytes: int
) -> None:
    """Whatever comes and goes, the sums are right, and the bounds hold."""
    choice = asyncio.run(_choice())
    lane = Lane(LaneOptions(max_calls=max_calls, max_bytes=max_bytes))
    offered = taken = 0
    for size, takes, clears in steps:
        lane.draw(choice, calls(size), answers(size), 0.1, 1.0)
        offered += size
        if takes and lane:
            taken += sum(len(sample.payloads) for sample in lane.take())
        if clears:
            lane.clear()
    rest = drawn(lane)
    assert offered == taken + len(rest) + lane.missed
    assert len(rest) <= max_calls
    assert (
        sum(len(request) + len(answer) for request, answer in rest if isinstance(answer, bytes))
        <= max_bytes
    )
