"""Whatever a worker's stream carries, and however it is cut, the node reads messages or ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.link import Link
from headrace.schemas.records import Batching
from tests.fakes.worker import FakeProcess
from tests.fuzz.bounds import bounded, counted
from tests.fuzz.conftest import FUZZ
from tests.fuzz.damage import damaged

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
faults = st.builds(Fault, st.sampled_from(Code), texts, st.booleans())
rans = st.builds(
    frames.Ran,
    st.integers(0, 9),
    st.none() | st.lists(st.integers(0, 9), max_size=3),
    st.lists(st.binary(max_size=4), max_size=3),
    st.dictionaries(st.integers(0, 9), faults, max_size=2),
)
from_worker = st.one_of(
    rans,
    st.builds(frames.Loaded, st.binary(max_size=4), st.integers(0, 9), st.integers(0, 9)),
    st.builds(frames.LoadFailed, st.sampled_from(Code), texts),
)
to_worker = st.one_of(
    st.builds(
        frames.Run,
        st.integers(0, 9),
        st.lists(
            st.builds(
                Calls,
                st.sampled_from(Encoding),
                st.lists(st.binary(max_size=4), max_size=2),
                st.lists(st.floats(), max_size=2),
            ),
            max_size=2,
        ),
    ),
    st.just(frames.Rebatch(Batching())),
)
# What MessagePack says has so many elements, with none behind it.
bombs = st.sampled_from(
    [
        *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"),
        *(b"\x94\xa3ran\x00\xdd\xff\xff\xff\xff", b"\x95\xa3ran\x00\xc0\xdd\xff\xff\xff\xff\x80"),
        *(b"\x93\xa3run\x00\xdd\x7f\xff\xff\xff", b"\x91" * 5000, b"\x92\xa3run" + b"\x91" * 5000),
    ]
)


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    with counted():
        yield


def _body(message: frames.ToWorker | frames.FromWorker) -> bytes:
    return bytes(frames.encode(message)[frames.LENGTH_BYTES :])


@FUZZ
@given(
    st.one_of(
        damaged(to_worker.map(_body)),
        damaged(from_worker.map(_body)),
        bombs,
        st.binary(max_size=64),
    )
)
def test_a_frame_is_a_message_or_a_mistake(body: bytes) -> None:
    """Any body of a frame is a message or a FrameError, and claims no memory."""
    for decode in (frames.decode_to_worker, frames.decode_from_worker):
        with suppress(frames.FrameError):
            bounded(partial(decode, body), len(body))


def _pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:stop] for start, stop in pairwise(places)]


async def _received(pieces: list[bytes]) -> tuple[list[frames.FromWorker], str | None]:
    """Return what a link passes on of a stream that comes in these pieces, and why it ended."""
    process = FakeProcess()
    link = Link(process)
    messages: list[frames.FromWorker] = []
    link.on_message = messages.append
    try:
        for piece in pieces:
            # As asyncio does: after its end a connection gets no more.
            if link.reason is None:
                link.data_received(piece)
        return messages, link.reason
    finally:
        process.stream.close()
        process.close()


@FUZZ
@given(st.lists(from_worker, max_size=4), st.binary(max_size=16), st.lists(st.integers(0)))
def test_a_stream_may_be_cut_anywhere(
    sent: list[frames.FromWorker], garbage: bytes, cuts: list[int]
) -> None:
    """However its bytes arrive, all messages come out before what is none ends the worker."""
    stream = b"".join(map(frames.encode, sent)) + garbage
    messages, reason = asyncio.run(_received(_pieces(stream, cuts)))
    whole, whole_reason = asyncio.run(_received([stream]))
    assert messages[: len(sent)] == sent
    assert (messages, reason) == (whole, whole_reason)
    assert reason is None or reason.startswith("it broke the protocol: ")
