"""What the door reads of a record before any model sees it."""

import time
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.stream.content import DEFAULT
from headrace.consumer.stream.requests import (
    LARGE_BYTES,
    MAX_DEADLINE_SECONDS,
    Kind,
    Requests,
)
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest, Route
from headrace.schemas.tensors import to_tensor
from tests.fakes.records import Record

# A header may have no value, whatever aiokafka's annotations say.
NOTHING = cast("bytes", None)


def request(
    model: str = "m", version: int | None = None, label: str | None = None, signature: str = "s"
) -> bytes:
    """Return an encoded request."""
    tensor = to_tensor("x", np.zeros(1, np.float32))
    return encode(
        InferenceRequest(
            model=model, version=version, label=label, signature=signature, inputs=(tensor,)
        )
    )


def read(*records: Record) -> Requests:
    """Return the records as the door reads them."""
    requests = Requests(records, default_deadline_seconds=30)
    requests.groups()
    return requests


def with_headers(*headers: tuple[str, bytes]) -> Requests:
    """Return one record with these headers, as the door reads it."""
    return read(Record(request(), headers))


def in_seconds(seconds: float) -> bytes:
    """Return a deadline header."""
    return b"%d" % ((time.time() + seconds) * 1000)


def kind(model: str = "m", version: int | None = None, label: str | None = None) -> Kind:
    """Return what requests in Avro for a route have in common."""
    return Kind(DEFAULT, Route(model, version, label))


def test_groups_records_by_route() -> None:
    """One look-up and one call serve all records with equal routes."""
    requests = read(*(Record(request(m, v)) for m, v in [("a", None), ("b", 2), ("a", None)]))
    assert requests.groups() == {kind("a"): [0, 2], kind("b", 2): [1]}
    assert requests.routes == [Route("a"), Route("b", 2), Route("a")]
    assert requests.payloads == [None, None, None]


def test_the_signature_does_not_part_a_group() -> None:
    """What comes behind the route is the worker's business."""
    requests = read(*(Record(request(signature=s)) for s in ("s", "other", "s")))
    assert requests.groups() == {kind(): [0, 1, 2]}


routes = st.builds(
    Route,
    st.sampled_from(["m", "mm", "", "a" * 70, "ü"]),
    st.sampled_from([None, 0, 1, 64, 2**40]),
    st.sampled_from([None, "", "gold"]),
)


@given(
    st.lists(
        st.one_of(
            routes.map(lambda r: request(r.model, r.version, r.label)),
            st.sampled_from([None, b"", b"junk", request()[:11], b"\xc3\x01" + bytes(12)]),
        ),
        max_size=30,
    )
)
def test_neighbours_are_sorted_as_each_alone(values: list[bytes | None]) -> None:
    """That neighbours often have equal routes saves time and changes nothing."""
    together = read(*(Record(value) for value in values))
    grouped: dict[Kind, list[int]] = {}
    for index, value in enumerate(values):
        alone = read(Record(value))
        assert together.routes[index] == alone.routes[0]
        assert together.faults.get(index) == alone.faults.get(0)
        for found in alone.groups():
            grouped.setdefault(found, []).append(index)
    assert together.groups() == grouped


@pytest.mark.parametrize("value", [None, b"", b"garbage", request()[:12], b"\xc3\x01" + bytes(9)])
def test_marks_what_it_cannot_read(value: bytes | None) -> None:
    """Unreadable values wait in no group, and their neighbours do."""
    requests = read(Record(request()), Record(value), Record(request()))
    fault = requests.faults[1]
    assert (fault.code, fault.is_unreadable) == (Code.INVALID_ARGUMENT, True)
    assert fault.message
    assert requests.payloads == [None, b"", None]
    assert requests.groups() == {kind(): [0, 2]}


def test_takes_the_default_deadline() -> None:
    """A request that names no deadline gets one all the same."""
    before = time.monotonic()
    (deadline,) = read(Record(request())).deadlines
    assert before + 30 <= deadline <= time.monotonic() + 30


def test_takes_the_deadline_of_the_header() -> None:
    """Epoch milliseconds become a reading of the monotonic clock, and no deadline is too far."""
    requests = read(
        *(Record(request(), [("deadline-ms", in_seconds(s))]) for s in (5, 10**6)),
        Record(request()),
    )
    now = time.monotonic()
    assert requests.payloads == [None, None, None]
    assert now + 3 < requests.deadlines[0] < now + 6
    assert now + MAX_DEADLINE_SECONDS - 1 < requests.deadlines[1] <= now + MAX_DEADLINE_SECONDS
    assert now + 28 < requests.deadlines[2] <= now + 30


def test_equal_deadlines_are_equal() -> None:
    """Each record has the deadline of its own header, also when neighbours have the same one."""
    soon, late = in_seconds(5), in_seconds(20)
    headers = [soon, soon, b"0", b"0", soon, late, b"", b"", late]
    requests = read(*(Record(request(), [("deadline-ms", h)]) for h in headers))
    deadlines = requests.deadlines
    assert deadlines[0] == deadlines[1] == deadlines[4]
    assert deadlines[5] == deadlines[8] > deadlines[0] + 10
    assert {index: fault.code for index, fault in requests.faults.items()} == {
        2: Code.DEADLINE_EXCEEDED,
        3: Code.DEADLINE_EXCEEDED,
        6: Code.INVALID_ARGUMENT,
        7: Code.INVALID_ARGUMENT,
    }
    assert requests.groups() == {kind(): [0, 1, 4, 5, 8]}


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
        (b"9" * 400, Code.INVALID_ARGUMENT),
        (b"9" * 5000, Code.INVALID_ARGUMENT),
    ],
)
def test_answers_for_deadlines_that_cannot_be_met(header: bytes, code: Code) -> None:
    """Expired and malformed deadlines are answered without a model."""
    requests = with_headers(("deadline-ms", header))
    fault = requests.faults[0]
    assert (fault.code, fault.is_unreadable) == (code, False)
    assert requests.payloads == [b""]
    assert not requests.groups()


@pytest.mark.parametrize("first", [b"tomorrow", b"0", b"1"])
def test_the_last_of_repeated_deadlines_counts(first: bytes) -> None:
    """One that is overruled does no harm, however bad it is."""
    requests = with_headers(("deadline-ms", first), ("deadline-ms", in_seconds(5)))
    assert requests.faults == {}
    assert time.monotonic() + 3 < requests.deadlines[0] < time.monotonic() + 6
    assert with_headers(("deadline-ms", in_seconds(5)), ("deadline-ms", b"0")).faults


def test_names_the_reply_topics() -> None:
    """Records are listed under the topics that they want their answers on."""
    mine, yours = [("reply-topic", b"mine")], [("reply-topic", b"\xff")]
    requests = read(
        *(Record(request(), headers) for headers in (mine, (), mine, yours)),
        Record(b"bad", mine),
        Record(request(), [*yours, *mine]),
    )
    assert requests.reply_topics() == {"mine": [0, 2, 4, 5], "\ufffd": [3]}
    assert requests.replies[1] is None


def test_gives_back_correlation_id_and_trace() -> None:
    """Nothing else is given back; of repeated headers the last, and none without a value."""
    requests = read(
        Record(request(), [("traceparent", b"t"), ("x", b"y"), ("correlation-id", b"c")]),
        Record(request(), [("correlation-id", b"c"), ("traceparent", b"t")]),
        Record(request(), [("correlation-id", b"1"), ("correlation-id", b"2")]),
        Record(request(), [("traceparent", b"1"), ("correlation-id", b"c"), ("traceparent", b"2")]),
        Record(request(), [("correlation-id", NOTHING), ("traceparent", NOTHING)]),
        Record(request()),
    )
    assert [list(echo) for echo in requests.echoes] == [
        [("correlation-id", b"c"), ("traceparent", b"t")],
        [("correlation-id", b"c"), ("traceparent", b"t")],
        [("correlation-id", b"2")],
        [("correlation-id", b"c"), ("traceparent", b"2")],
        [],
        [],
    ]
    assert [requests.is_addressable(n) for n in range(6)] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("name", ["correlation-id", "reply-topic", "deadline-ms", "content-type"])
def test_a_header_without_a_value_is_none(name: str) -> None:
    """Kafka allows it, and it means nothing."""
    requests, plain = with_headers((name, NOTHING)), read(Record(request()))
    assert (requests.faults, requests.replies, requests.echoes) == ({}, [None], [[]])
    assert requests.groups() == plain.groups()


def test_a_reply_topic_makes_a_record_addressable() -> None:
    """Somebody who has a topic of their own needs no correlation id."""
    assert with_headers(("reply-topic", b"mine")).is_addressable(0)
    assert not with_headers(("traceparent", b"t")).is_addressable(0)


def test_runs_no_model_for_what_cannot_be_answered() -> None:
    """A refused reply topic takes its records out of their groups."""
    requests = Requests([Record(request()), Record(request())], default_deadline_seconds=30)
    requests.refuse_replies([0], "reply-topic 'x' does not exist")
    requests.groups()
    assert requests.groups() == {kind(): [1]}
    assert requests.refused_replies == {0: "reply-topic 'x' does not exist"}


def test_the_last_of_repeated_headers_counts() -> None:
    """Kafka allows a name twice; one of them must win, always the same."""
    requests = with_headers(("affinity", b"a"), ("affinity", b"b"), ("x", NOTHING))
    assert requests.header(0, "affinity") == b"b"
    assert requests.header(0, "x") is None
    assert requests.header(0, "y") is None


def test_refusing_is_answering() -> None:
    """A refused record has a fault and an empty payload."""
    requests, fault = read(Record(request())), Fault(Code.NOT_FOUND, "no")
    requests.refuse(0, fault)
    assert (requests.payloads, requests.faults) == ([b""], {0: fault})


def test_marks_records_whose_answers_have_to_be_measured() -> None:
    """A large key or header comes back with the answer, whatever the model says."""
    large = bytes(LARGE_BYTES + 1)
    requests = read(
        Record(request()),
        Record(request(), key=large),
        Record(request(), [("correlation-id", large)]),
        Record(request(), [("traceparent", large)]),
        Record(request(), [("x", large)]),
        Record(request(), key=large[1:]),
    )
    assert requests.large == {1, 2, 3}


def test_knows_its_size_and_what_comes_next() -> None:
    """The batch ends behind its last record."""
    requests = read(Record(b"abc", offset=5), Record(None, offset=9))
    assert (requests.size_bytes, requests.next_offset) == (3, 10)
