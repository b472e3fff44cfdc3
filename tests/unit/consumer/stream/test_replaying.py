"""Which past records a replay answers, and what it keeps of them."""

from __future__ import annotations

import numpy as np

from headrace.consumer.stream.claims import Claims
from headrace.consumer.stream.clients import TopicPartition
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.replaying import PastRequest, PastRequests, Tally
from headrace.publisher.ranges import Span
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import to_tensor

PARTITION = TopicPartition("requests", 3)


def past(offset: int, model: str | None = "m", /, **headers: bytes) -> PastRequest:
    """Return a record; without a model it is no request."""
    tensor = to_tensor("x", np.zeros(1, np.float32))
    value = encode(InferenceRequest(model=model, inputs=(tensor,))) if model else b"garbage"
    named = [(name.replace("_", "-"), raw) for name, raw in headers.items()]
    return PastRequest("requests", 3, offset, 0, b"k", value, named)


def source(start: int = 0, end: int = 100) -> tuple[PastRequests, list[Tally]]:
    """Return a source for model m, and what it tells."""
    told: list[Tally] = []
    intake = Intake(None, Claims((), 1), "replayed", 1)
    return PastRequests("m", {PARTITION: Span(start, end)}, intake.models, told.append), told


async def test_takes_the_models_requests_before_the_end() -> None:
    """Records of others are skipped, and those at the end and behind it are not looked at."""
    replayed, _ = source(end=5)
    requests = await replayed.requests([past(1), past(2, "n"), past(4), past(5), past(6)])
    assert [message.offset for message in requests.messages] == [1, 4]
    assert requests.next_offset == 5
    assert replayed.end_offset(PARTITION) == 5


async def test_skipped_records_are_passed_over_all_the_same() -> None:
    """A batch without a request still moves the offset on."""
    replayed, _ = source()
    requests = await replayed.requests([past(7, "n"), past(8, None)])
    assert (len(requests.messages), requests.next_offset, requests.groups()) == (0, 9, {})


async def test_drops_what_was_true_of_the_moment_only() -> None:
    """Deadline and control offset; a reply topic is noted for the diff, and the request's place."""
    replayed, _ = source()
    headers = {"correlation_id": b"c", "deadline_ms": b"1", "reply_topic": b"mine"}
    headers["min_control_offset"] = b"17"
    requests = await replayed.requests([past(7, "m", **headers), past(8)])
    assert not requests.min_offsets
    assert requests.payloads == [None, None]
    assert requests.replies == [None, None]
    assert requests.echoes == [
        [("correlation-id", b"c"), ("replay-of", b"requests/3/7"), ("reply-topic", b"mine")],
        [("replay-of", b"requests/3/8")],
    ]
    assert requests.is_addressable(1)


async def test_counts_what_is_committed() -> None:
    """Batches that are given up count when they come again, and only then."""
    replayed, told = source(start=4, end=20)
    await replayed.requests([past(5), past(6, "n"), past(7, None)])
    again = [
        await replayed.requests([past(5), past(6, "n")]),
        await replayed.requests([past(7, None)]),
    ]
    replayed.note_committed(PARTITION, again)
    assert told == [Tally(total=16, done=4, answered=1, others=1, unreadable=1)]
