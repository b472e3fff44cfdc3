"""What the door reads of a record before any model sees it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.stream.requests import MAX_DEADLINE_SECONDS, Requests
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest, Route
from headrace.schemas.tensors import to_tensor


@dataclass(frozen=True)
class Record:
    """A record as a consumer hands it out."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    key: bytes | None = None
    offset: int = 0
    topic: str = "requests"
    partition: int = 0
    timestamp: int = 0


def request(model: str = "m", version: int | None = None) -> bytes:
    tensor = to_tensor("x", np.zeros(1, np.float32))
    return encode(InferenceRequest(model=model, version=version, inputs=(tensor,)))


def read(*records: Record) -> Requests:
    return Requests(records, default_deadline_seconds=30)


def test_groups_records_by_route() -> None:
    """One look-up and one call serve all records with equal routes."""
    requests = read(*(Record(request(m, v)) for m, v in [("a", None), ("b", 2), ("a", None)]))
    assert requests.groups == {Route("a"): [0, 2], Route("b", 2): [1]}
    assert requests.answers == [None, None, None]


@pytest.mark.parametrize("value", [None, b"", b"garbage", request()[:12], b"\xc3\x01" + bytes(9)])
def test_marks_what_it_cannot_read(value: bytes | None) -> None:
    """Unreadable values wait in no group, and their neighbours do."""
    requests = read(Record(value), Record(request()))
    answer = requests.answers[0]
    assert answer is not None
    assert (answer.code, answer.is_unreadable) == (Code.INVALID_ARGUMENT, True)
    assert answer.message
    assert requests.groups == {Route("m"): [1]}


def test_takes_the_default_deadline() -> None:
    """A request that names no deadline gets one all the same."""
    before = time.monotonic()
    (deadline,) = read(Record(request())).deadlines
    assert before + 30 <= deadline <= time.monotonic() + 30


def test_takes_the_deadline_of_the_header() -> None:
    """Epoch milliseconds become a reading of the monotonic clock, and no deadline is too far."""
    soon, late = (b"%d" % (time.time() * 1000 + ms) for ms in (5_000, 10**9))
    requests = read(
        Record(request(), [("deadline-ms", soon)]), Record(request(), [("deadline-ms", late)])
    )
    now = time.monotonic()
    assert requests.answers == [None, None]
    assert now + 3 < requests.deadlines[0] < now + 6
    assert requests.deadlines[1] <= now + MAX_DEADLINE_SECONDS


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"0", Code.DEADLINE_EXCEEDED),
        (b"-5", Code.DEADLINE_EXCEEDED),
        (b"1000000000000", Code.DEADLINE_EXCEEDED),
        (b"", Code.INVALID_ARGUMENT),
        (b"tomorrow", Code.INVALID_ARGUMENT),
        (b"1e12", Code.INVALID_ARGUMENT),
        (b"\xff", Code.INVALID_ARGUMENT),
        (b"9" * 5000, Code.INVALID_ARGUMENT),
    ],
)
def test_answers_for_deadlines_that_cannot_be_met(header: bytes, code: Code) -> None:
    """Expired and malformed deadlines are answered without a model."""
    requests = read(Record(request(), [("deadline-ms", header)]))
    answer = requests.answers[0]
    assert answer is not None
    assert (answer.code, answer.is_unreadable) == (code, False)
    assert not any(requests.groups.values())


def test_names_the_reply_topics() -> None:
    """Records are listed under the topics that they want their answers on."""
    mine = [("reply-topic", b"mine")]
    requests = read(Record(request(), mine), Record(request()), Record(b"bad", mine))
    assert requests.reply_topics() == {"mine": [0, 2]}


def test_runs_no_model_for_what_cannot_be_answered() -> None:
    """A refused reply topic takes its records out of their groups."""
    requests = read(Record(request()), Record(request()))
    requests.refuse_replies([0], "reply-topic 'x' does not exist")
    assert requests.groups == {Route("m"): [1]}
    assert requests.refused_replies == {0: "reply-topic 'x' does not exist"}


def test_the_last_of_repeated_headers_counts() -> None:
    """Kafka allows a name twice; one of them must win, always the same."""
    requests = read(Record(request(), [("affinity", b"a"), ("affinity", b"b")]))
    assert requests.headers[0]["affinity"] == b"b"
