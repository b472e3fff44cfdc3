"""A frame puts the calls of several callers together, and hands each its answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.flight import Frame, Share
from headrace.consumer.workers.queue import EXPIRED, Ticket

BAD = Fault(Code.INVALID_ARGUMENT, message="bad")


def ticket(*texts: bytes, encoding: Encoding = Encoding.AVRO) -> Ticket:
    """Return a ticket whose calls have their numbers for deadlines."""
    return Ticket(Calls(encoding, texts, [float(n) for n in range(len(texts))]))


async def test_neighbours_of_one_encoding_travel_together() -> None:
    """The worker gets one list for each run of equal encodings, in the order of the calls."""
    proto = Encoding.TENSORFLOW_SERVING
    tickets = [ticket(b"a", b"b"), ticket(b"c"), ticket(b"d", encoding=proto), ticket(b"e")]
    frame = Frame([Share(each) for each in tickets])
    assert frame.left == 5
    assert frame.calls() == [
        Calls(Encoding.AVRO, [b"a", b"b", b"c"], [0.0, 1.0, 0.0]),
        Calls(proto, [b"d"], [0.0]),
        Calls(Encoding.AVRO, [b"e"], [0.0]),
    ]


async def test_a_lone_ticket_travels_as_it_is() -> None:
    """Nothing is copied when there is nothing to join."""
    alone = ticket(b"a", b"b")
    assert Frame([Share(alone)]).calls()[0] is alone.calls


async def test_a_share_is_some_calls_of_a_ticket() -> None:
    """Its calls, deadlines and places are those at its positions."""
    share = Share(ticket(b"a", b"b", b"c"), [2, 1])
    assert share.calls() == Calls(Encoding.AVRO, [b"c", b"b"], [2.0, 1.0])
    assert (share.count, share.first, share.latest_seconds) == (2, 2, 2.0)
    assert [share.place(index) for index in range(2)] == [2, 1]
    whole = Share(share.ticket)
    assert (whole.count, whole.first, whole.latest_seconds) == (3, 0, 2.0)


async def test_only_a_part_of_a_ticket_is_a_suspect() -> None:
    """A ticket goes whole unless a worker has died over it."""
    assert not Frame([Share(ticket(b"a"))]).is_suspect
    assert Frame([Share(ticket(b"a"), [0])]).is_suspect


async def test_answers_to_everything_reach_their_callers() -> None:
    """Without positions the answers are in the order of the calls, faults where they belong."""
    one, two, three = ticket(b"a", b"b"), ticket(b"c"), ticket(b"d", b"e", b"f")
    frame = Frame([Share(one), Share(two), Share(three, [2, 0])])
    frame.settle(frames.Ran(0, None, [b"A", b"", b"C", b"", b"D"], {1: BAD, 3: BAD}))
    assert frame.left == 0
    assert one.answers() == ([b"A", b""], {1: BAD})
    assert two.answers() == ([b"C"], {})
    assert (three.payloads, three.faults) == ([b"D", None, b""], {2: BAD})
    assert [each.done.done() for each in (one, two, three)] == [True, True, False]


@given(order=st.permutations(range(6)), cut=st.integers(0, 6))
async def test_answers_in_any_order_reach_their_callers(order: list[int], cut: int) -> None:
    """Whatever comes first, every caller has its own answers when all have come."""
    tickets = [ticket(b"0", b"1"), ticket(b"2"), ticket(b"-", b"4", b"3", b"5")]
    frame = Frame([Share(tickets[0]), Share(tickets[1]), Share(tickets[2], [2, 1, 3])])
    for places in (order[:cut], order[cut:]):
        index_of_3 = {places.index(3): BAD} if 3 in places else {}
        frame.settle(frames.Ran(0, places, [b"%d" % place for place in places], index_of_3))
    assert frame.left == 0
    assert [each.payloads for each in tickets] == [
        [b"0", b"1"],
        [b"2"],
        [None, b"4", b"3", b"5"],
    ]
    assert tickets[2].faults == {2: BAD}


@pytest.mark.parametrize(
    "ran",
    [
        frames.Ran(0, None, [b"a"], {}),
        frames.Ran(0, None, [b"a", b"b", b"c", b"d"], {}),
        frames.Ran(0, [0, 1], [b"a"], {}),
        frames.Ran(0, [3], [b"a"], {}),
        frames.Ran(0, [-1], [b"a"], {}),
        frames.Ran(0, [0], [b""], {1: BAD}),
    ],
    ids=["too few", "too many", "unequal", "behind", "before", "fault"],
)
async def test_answers_that_do_not_fit_are_refused(ran: frames.Ran) -> None:
    """Nobody gets an answer from a message that makes no sense."""
    one, two = ticket(b"a", b"b"), ticket(b"c")
    frame = Frame([Share(one), Share(two)])
    with pytest.raises(ValueError, match="of a frame of 3"):
        frame.settle(ran)
    assert (frame.left, one.unanswered, two.unanswered) == (3, [0, 1], [0])


async def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    """What the caller was told already stays, and the frame is done all the same."""
    late, other = ticket(b"a"), ticket(b"b")
    frame = Frame([Share(late), Share(other)])
    late.settle_rest(EXPIRED)
    frame.settle(frames.Ran(0, None, [b"A", b"B"], {}))
    assert frame.left == 0
    assert late.answers() == ([b""], {0: EXPIRED})
    assert other.answers() == ([b"B"], {})


async def test_what_is_unanswered_comes_back_call_by_call() -> None:
    """Each call that a dead worker had is a share of its own, at its place in its ticket."""
    one, two = ticket(b"a", b"b"), ticket(b"c", b"d", b"e")
    frame = Frame([Share(one), Share(two, [2, 0])])
    frame.settle(frames.Ran(0, [1, 2], [b"B", b"E"], {}))
    left = [(share.ticket, share.positions) for share in frame.unanswered()]
    assert left == [(one, [0]), (two, [0])]


class Looked(dict[int, Fault]):
    """Faults that count how often one of them is looked at while walking through them."""

    steps = 0

    def __iter__(self) -> Iterator[int]:
        """Walk and count."""
        for key in super().__iter__():
            self.steps += 1
            yield key


async def test_many_callers_that_are_all_refused() -> None:
    """A frame that is nothing but faults is settled in one pass over them, not one per caller."""
    tickets = [ticket(b"x") for _ in range(500)]
    faults = Looked(dict.fromkeys(range(500), BAD))
    frame = Frame([Share(each) for each in tickets])
    frame.settle(frames.Ran(0, None, [b""] * 500, faults))
    assert all(each.faults == {0: BAD} for each in tickets)
    assert faults.steps <= 1000
