"""What a worker takes in: every frame whole, in order, and what is called off at once."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.workers import frames
from headrace.consumer.workers.inbox import Inbox, Job
from headrace.schemas.records import Batching

Pair = tuple[socket.socket, Inbox]
NEVER = float("-inf")


@pytest.fixture
def pair() -> Generator[Pair]:
    """The node's end of a stream, and the worker's inbox."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        yield ours, Inbox(theirs)


def run(number: int, *payloads: bytes) -> frames.Run:
    """Return a frame of calls."""
    return frames.Run(number, [Calls(Encoding.AVRO, payloads, [9.0] * len(payloads))])


def next_job(inbox: Inbox) -> Job:
    """Return the next order, which must be calls."""
    job = inbox.next()
    assert isinstance(job, Job)
    return job


@pytest.mark.parametrize("piece", [1, 3, 7, 64, 1000])
def test_frames_that_come_in_pieces_are_whole(pair: Pair, piece: int) -> None:
    """However the stream cuts them, orders come whole and in order."""
    ours, inbox = pair
    sent = [run(n, b"a" * n, b"b" * 40) for n in range(20)]
    stream = b"".join(bytes(frames.encode(each)) for each in sent)
    for start in range(0, len(stream), piece):
        ours.sendall(stream[start : start + piece])
        inbox.look()
    found = [next_job(inbox) for _ in sent]
    assert [job.frame for job in found] == list(range(20))
    assert [list(job.calls[0].payloads) for job in found] == [
        list(each.calls[0].payloads) for each in sent
    ]


def test_frames_longer_than_the_buffer_are_whole(pair: Pair) -> None:
    """Long ones, and the short ones before, between and behind them."""
    ours, inbox = pair
    sent = [b"s", b"l" * 300_000, b"m" * 262_144, b"t", b"k" * 262_100, b"u"]
    for number, payload in enumerate(sent):
        ours.sendall(frames.encode(run(number, payload)))
        if number % 2:
            inbox.look()
    for payload in sent:
        assert list(next_job(inbox).calls[0].payloads) == [payload]


def test_what_is_called_off_is_known_before_it_begins(pair: Pair) -> None:
    """A Cancel goes ahead of what was sent before it."""
    ours, inbox = pair
    for message in (run(1, b"a", b"b"), run(2, b"c", b"d"), frames.Cancel(2, [1])):
        ours.sendall(frames.encode(message))
    assert next_job(inbox).deadlines_seconds == [9.0, 9.0]
    assert next_job(inbox).deadlines_seconds == [9.0, NEVER]


def test_what_is_called_off_behind_a_long_frame_is_known_too(pair: Pair) -> None:
    """The buffer of a long frame ends with it; what follows is read all the same."""
    ours, inbox = pair
    ours.sendall(frames.encode(run(1, b"l" * 300_000)))
    ours.sendall(frames.encode(frames.Cancel(1, [0])))
    assert next_job(inbox).deadlines_seconds == [NEVER]


def test_what_is_called_off_while_it_runs_is_seen_by_a_look(pair: Pair) -> None:
    """The deadlines of the frame in work move; those of an answered one are forgotten."""
    ours, inbox = pair
    ours.sendall(frames.encode(run(1, b"a", b"b")))
    job = next_job(inbox)
    inbox.look()
    assert job.deadlines_seconds == [9.0, 9.0]
    ours.sendall(frames.encode(frames.Cancel(1, [0])))
    inbox.look()
    assert job.deadlines_seconds == [NEVER, 9.0]
    inbox.done(job)
    ours.sendall(frames.encode(frames.Cancel(1, [1])))
    inbox.look()
    assert job.deadlines_seconds == [NEVER, 9.0]


def test_other_orders_keep_their_place(pair: Pair) -> None:
    """New rules count from the frame that follows them."""
    ours, inbox = pair
    rebatch = frames.Rebatch(Batching(max_rows=5))
    for message in (run(1, b"a"), rebatch, run(2, b"b")):
        ours.sendall(frames.encode(message))
    assert next_job(inbox).frame == 1
    assert inbox.next() == rebatch
    assert next_job(inbox).frame == 2


def test_nothing_more_is_run_for_a_node_that_is_gone(pair: Pair) -> None:
    """What waits when the stream has ended is dropped."""
    ours, inbox = pair
    ours.sendall(frames.encode(run(1, b"a")) + frames.encode(run(2, b"b")))
    ours.close()
    assert next_job(inbox).frame == 1
    assert inbox.next() is None
    assert inbox.next() is None


def test_what_is_called_off_after_a_look_is_known_too(pair: Pair) -> None:
    """However lately it came: the worker looks again before it begins a frame."""
    ours, inbox = pair
    ours.sendall(frames.encode(run(1, b"a")) + frames.encode(run(2, b"b")))
    next_job(inbox)
    inbox.look()
    ours.sendall(frames.encode(frames.Cancel(2, [0])))
    assert next_job(inbox).deadlines_seconds == [NEVER]


def test_a_stream_of_something_else_is_refused(pair: Pair) -> None:
    """Bytes that are no frame end the worker, which says why."""
    ours, inbox = pair
    ours.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(frames.FrameError, match="over the limit"):
        inbox.next()
