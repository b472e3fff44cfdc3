"""Frames: what goes in comes out, and nothing else is taken for a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames

calls = st.builds(
    Calls, st.sampled_from(Encoding), st.lists(st.binary()), st.lists(st.floats(allow_nan=False))
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
faults = st.builds(Fault, st.sampled_from(Code), texts, st.booleans())


def body(frame: bytes | bytearray) -> bytes:
    """Return what follows a frame's length, which must be right."""
    length = frames.body_bytes_of(frame[: frames.LENGTH_BYTES])
    assert len(frame) == frames.LENGTH_BYTES + length
    return bytes(frame[frames.LENGTH_BYTES :])


@given(number=st.integers(0, 2**40), sent=st.lists(calls, max_size=5))
def test_calls_arrive_as_sent(number: int, sent: list[Calls]) -> None:
    """Calls keep their bytes, encoding and deadline, infinite ones included."""
    message = frames.Run(number, sent)
    assert frames.decode_to_worker(body(frames.encode(message))) == message


@given(
    number=st.integers(0, 2**40),
    positions=st.none() | st.lists(st.integers(0, 2**32)),
    payloads=st.lists(st.binary(), max_size=5),
    failed=st.dictionaries(st.integers(0, 2**32), faults, max_size=5),
)
def test_answers_arrive_as_sent(
    number: int, positions: list[int] | None, payloads: list[bytes], failed: dict[int, Fault]
) -> None:
    """Answers come back with their types."""
    message = frames.Ran(number, positions, payloads, failed)
    received = frames.decode_from_worker(body(frames.encode(message)))
    assert received == message
    assert isinstance(received, frames.Ran)
    assert all(isinstance(fault.code, Code) for fault in received.faults.values())


@given(data=st.binary(max_size=64))
def test_garbage_is_no_frame(data: bytes) -> None:
    """Bytes that are no message are a FrameError and nothing else."""
    for decode in (frames.decode_to_worker, frames.decode_from_worker):
        try:
            decode(data)
        except frames.FrameError:
            continue


def test_messages_of_the_other_direction_are_refused() -> None:
    """A worker does not take what only workers send."""
    with pytest.raises(frames.FrameError, match="not a message to a worker"):
        frames.decode_to_worker(body(frames.encode(frames.Loaded(b"", 0, 0))))


def test_lengths_are_bounded() -> None:
    """A length over the limit is refused before anything is read."""
    with pytest.raises(frames.FrameError, match="over the limit"):
        frames.body_bytes_of(b"\xff\xff\xff\xff")


def test_long_messages_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other side would refuse is refused here."""
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(frames.FrameError, match="over the limit of 100"):
        frames.encode(frames.Loaded(bytes(101), 0, 0))
