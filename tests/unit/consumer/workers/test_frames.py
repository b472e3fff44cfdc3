"""Frames: what goes in comes out, and nothing else is taken for a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Answer, Call, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames

calls = st.builds(Call, st.sampled_from(Encoding), st.binary(), st.floats(allow_nan=False))
texts = st.text(st.characters(exclude_categories=["Cs"]))
answers = st.builds(Answer, st.sampled_from(Code), st.binary(), texts, st.booleans())


def body(frame: bytes | bytearray) -> bytes:
    """Return what follows a frame's length, which must be right."""
    length = frames.body_bytes_of(frame[: frames.LENGTH_BYTES])
    assert len(frame) == frames.LENGTH_BYTES + length
    return bytes(frame[frames.LENGTH_BYTES :])


@given(number=st.integers(0, 2**40), sent=st.lists(calls, max_size=5))
def test_calls_arrive_as_sent(number: int, sent: list[Call]) -> None:
    """Calls keep their bytes, encoding and deadline, infinite ones included."""
    message = frames.Run(number, sent)
    assert frames.decode_to_worker(body(frames.encode(message))) == message


@given(number=st.integers(0, 2**40), sent=st.lists(answers, max_size=5))
def test_answers_arrive_as_sent(number: int, sent: list[Answer]) -> None:
    """Answers come back with their types."""
    message = frames.Ran(number, list(range(len(sent))), sent)
    received = frames.decode_from_worker(body(frames.encode(message)))
    assert received == message
    assert isinstance(received, frames.Ran)
    assert all(isinstance(answer.code, Code) for answer in received.answers)


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
