"""What leaves for a batch: answers in order, errors, dead letters, each where it fits."""

from collections.abc import Sequence

import pytest

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.choice import Choice, Serving
from headrace.consumer.core.codes import Code
from headrace.consumer.stream.destinations import Destination
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing, Parcel, Row
from headrace.consumer.stream.replies import Replies
from headrace.consumer.stream.requests import Requests
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceError, InferenceRequest, InferenceResponse
from headrace.schemas.topics import Topics
from tests.fakes.destinations import KnownDestinations
from tests.fakes.records import Record
from tests.fakes.servable import FakeServable, planned_version

TOPICS = Topics()
RESPONSES, LETTERS = TOPICS.responses, TOPICS.dead_letters
MINE, NARROW, NOWHERE = "mine", "narrow", "nowhere"
NARROW_BYTES = 5000
DESTINATIONS = (
    Destination(RESPONSES, 4),
    Destination(LETTERS, 1),
    Destination(MINE, 2),
    Destination(NARROW, 1, max_bytes=NARROW_BYTES),
)
UNREADABLE = Fault(Code.INVALID_ARGUMENT, message="no such schema", is_unreadable=True)
NODE = ("node", b"n1")


def replies_to(*destinations: Destination) -> tuple[Replies, KnownDestinations]:
    """Return what composes answers, and the topics it knows."""
    known = KnownDestinations(*(destinations or DESTINATIONS))
    return Replies(StreamOptions(node="n1"), known), known


def serving(version: int = 3) -> Choice:
    """Return a version that answers."""
    planned = planned_version("half", version, control_offset=40 + version)
    return Choice(Serving(planned, FakeServable(planned)), plan_offset=50)


def record(
    number: int, *headers: tuple[str, bytes], value: bytes | None = None, key: bytes | None = None
) -> Record:
    """Return a request with a correlation id, unless other headers are given."""
    value = encode(InferenceRequest(model="half")) if value is None else value
    given = headers or (("correlation-id", b"%d" % number),)
    return Record(value, given, key or b"k%d" % number, offset=100 + number, partition=3)


def reply_to(topic: str) -> tuple[str, bytes]:
    """Return the header that asks for an answer on a topic."""
    return ("reply-topic", topic.encode())


def answered(
    records: Sequence[Record], payloads: Sequence[bytes | Fault], by: Choice | None = None
) -> Requests:
    """Return requests as they are when a version has answered."""
    requests = Requests(records, default_deadline_seconds=30)
    requests.groups()
    for index, outcome in enumerate(payloads):
        requests.choices[index] = by
        if isinstance(outcome, Fault):
            requests.refuse(index, outcome)
        else:
            requests.payloads[index] = outcome
    return requests


def rows(parcels: Sequence[Parcel]) -> dict[tuple[str, int], list[Row]]:
    """Return what goes where."""
    return {(parcel.topic, parcel.partition): parcel.rows for parcel in parcels}


def error_in(row: Row) -> InferenceError:
    """Return the error in an answer."""
    assert row[1] is not None
    error = decode(row[1], InferenceResponse).error
    assert error is not None
    return error


async def test_a_batch_is_a_parcel_in_order() -> None:
    """Key, value, what the client gave and the provenance; one parcel for one destination."""
    replies, _ = replies_to()
    records = [record(0), record(1, ("correlation-id", b"c"), ("traceparent", b"t"))]
    (parcel,) = replies.compose(answered(records, [b"a", b"b"], serving()))
    origin = [
        ("model", b"half"),
        ("version", b"3"),
        ("control-offset", b"43"),
        ("artifact-digest", f"sha256:{3:064x}".encode()),
        NODE,
        ("plan-offset", b"50"),
        ("routed-by", b"version"),
    ]
    assert (parcel.topic, parcel.partition, parcel.max_bytes) == (RESPONSES, 3, 1_048_588)
    assert parcel.rows == [
        (b"k0", b"a", [("correlation-id", b"0"), *origin]),
        (b"k1", b"b", [("correlation-id", b"c"), ("traceparent", b"t"), *origin]),
    ]


async def test_each_answer_tells_of_the_version_that_gave_it() -> None:
    """Two versions answered in turn, and somebody has no version at all."""
    replies, _ = replies_to()
    one, two = serving(1), serving(2)
    requests = answered([record(n) for n in range(5)], [b""] * 5, one)
    requests.choices[1:5] = [two, one, None, two]
    (parcel,) = replies.compose(requests)
    versions = [dict(headers).get("version") for _, _, headers in parcel.rows]
    assert versions == [b"1", b"2", b"1", None, b"2"]


async def test_answers_are_parted_by_topic_and_keep_their_order() -> None:
    """A client's own topic gets its answers, on one partition each."""
    replies, _ = replies_to()
    topics = [MINE, None, MINE, NARROW, None]
    records = [
        record(n, ("correlation-id", b"%d" % n), *([reply_to(t)] if t else []))
        for n, t in enumerate(topics)
    ]
    found = rows(replies.compose(answered(records, [b"%d" % n for n in range(5)])))
    assert {place: [row[1] for row in each] for place, each in found.items()} == {
        (MINE, 1): [b"0", b"2"],
        (RESPONSES, 3): [b"1", b"4"],
        (NARROW, 0): [b"3"],
    }


async def test_errors_stand_between_answers() -> None:
    """An error answer carries code, words, model, version and the client's headers, in its turn."""
    replies, _ = replies_to()
    fault = Fault(Code.INVALID_ARGUMENT, message="x is missing")
    requests = answered([record(n) for n in range(3)], [b"a", fault, b"c"], serving())
    (parcel,) = replies.compose(requests)
    assert [row[1] for row in parcel.rows[::2]] == [b"a", b"c"]
    key, value, headers = parcel.rows[1]
    response = decode(value or b"", InferenceResponse)
    assert (response.model, response.version) == ("half", 3)
    assert response.error == InferenceError(code="INVALID_ARGUMENT", message="x is missing")
    assert (key, headers[0]) == (b"k1", ("correlation-id", b"1"))
    assert dict(headers)["error-code"] == b"INVALID_ARGUMENT"
    assert dict(headers)["version"] == b"3"


async def test_an_error_before_any_version() -> None:
    """Nobody was asked: there is a node and no version."""
    replies, _ = replies_to()
    requests = answered([record(0)], [Fault(Code.NOT_FOUND, message="no such model")])
    (row,) = rows(replies.compose(requests))[RESPONSES, 3]
    assert row[2] == [("correlation-id", b"0"), NODE, ("error-code", b"NOT_FOUND")]
    assert decode(row[1] or b"", InferenceResponse).version is None


async def test_equal_errors_do_not_share_what_is_theirs() -> None:
    """The error is encoded once; each answer has its own key and headers."""
    replies, _ = replies_to()
    fault = Fault(Code.NOT_FOUND, message="no")
    found = rows(replies.compose(answered([record(0), record(1)], [fault, fault])))
    one, two = found[RESPONSES, 3]
    assert one[1] == two[1]
    assert (one[0], one[2][0], two[0], two[2][0]) == (
        b"k0",
        ("correlation-id", b"0"),
        b"k1",
        ("correlation-id", b"1"),
    )


async def test_a_long_message_is_cut() -> None:
    """A model's words do not fill the topic, and odd characters do no harm."""
    replies, _ = replies_to()
    requests = answered([record(0)], [Fault(Code.INTERNAL, message="\ud800" + "w" * 99_999)])
    (row,) = rows(replies.compose(requests))[RESPONSES, 3]
    assert error_in(row).message == "?" + "w" * 1023 + "… (cut)"


@pytest.mark.parametrize(
    ("headers", "is_answered"),
    [
        ((("correlation-id", b"c"),), True),
        ((reply_to(RESPONSES),), True),
        ((("traceparent", b"t"),), False),
    ],
)
async def test_what_is_unreadable_is_a_dead_letter(
    headers: tuple[tuple[str, bytes], ...], is_answered: bool
) -> None:
    """It is kept byte for byte, and answered when somebody can tell the answer from others."""
    replies, _ = replies_to()
    records = [record(0, *headers, value=b"garbage"), record(1)]
    found = rows(replies.compose(answered(records, [UNREADABLE, b"b"])))
    ((key, value, told),) = found[LETTERS, 0]
    assert (key, value, told[: len(headers)]) == (b"k0", b"garbage", list(headers))
    assert told[len(headers) :] == [
        ("origin-topic", b"requests"),
        ("origin-partition", b"3"),
        ("origin-offset", b"100"),
        ("reason", b"no such schema"),
    ]
    *errors, (_, answer, _) = found[RESPONSES, 3]
    assert answer == b"b"
    assert [error_in(row).message for row in errors] == ["no such schema"] * is_answered


async def test_refused_reply_topics_make_dead_letters() -> None:
    """What has no address is kept with the reason, and no model runs for it."""
    replies, _ = replies_to()
    wanted = [NOWHERE, TOPICS.control, LETTERS, "__consumer_offsets", "", "x" * 9999, MINE]
    records = [record(n, reply_to(topic)) for n, topic in enumerate(wanted)]
    requests = Requests(records, default_deadline_seconds=30)
    await replies.address(requests)
    requests.groups()
    assert list(requests.groups().values()) == [[6]]
    requests.payloads[6] = b"a"
    found = rows(replies.compose(requests))
    assert [row[1] for row in found.pop((MINE, 1))] == [b"a"]
    reasons = [dict(headers)["reason"].decode() for _, _, headers in found.pop((LETTERS, 0))]
    assert reasons == [
        "reply-topic 'nowhere' does not exist",
        f"reply-topic '{TOPICS.control}' is reserved",
        f"reply-topic '{LETTERS}' is reserved",
        "reply-topic '__consumer_offsets' is reserved",
        "reply-topic '' does not exist",
        f"reply-topic '{'x' * 100}' does not exist",
    ]
    assert not found


async def test_a_bad_request_for_a_bad_topic_is_one_dead_letter() -> None:
    """The reason that there is no answer counts; nothing is sent twice."""
    replies, _ = replies_to()
    requests = Requests([record(0, reply_to(NOWHERE), value=b"x")], default_deadline_seconds=30)
    await replies.address(requests)
    requests.groups()
    found = rows(replies.compose(requests))
    ((_, value, headers),) = found.pop((LETTERS, 0))
    assert (value, dict(headers)["reason"]) == (b"x", b"reply-topic 'nowhere' does not exist")
    assert not found


async def test_a_topic_that_refuses_gets_nothing() -> None:
    """Answers for a topic that said no for good are kept as requests."""
    replies, known = replies_to()
    known.refuse(MINE, "InvalidRecord")
    records = [record(0, reply_to(MINE)), record(1), record(2, reply_to(MINE))]
    found = rows(replies.compose(answered(records, [b"a", b"b", b"c"])))
    assert [row[1] for row in found.pop((RESPONSES, 3))] == [b"b"]
    letters = found.pop((LETTERS, 0))
    assert [dict(headers)["reason"] for _, _, headers in letters] == [
        b"topic 'mine' refused the answer: InvalidRecord"
    ] * 2
    assert not found


async def test_a_topic_that_went_away_gets_nothing() -> None:
    """A reply topic that was deleted after its request was taken does not stop the others."""
    replies, _ = replies_to(DESTINATIONS[0], DESTINATIONS[1])
    records = [record(0, reply_to(MINE)), record(1)]
    found = rows(replies.compose(answered(records, [b"a", b"b"])))
    assert [row[1] for row in found[RESPONSES, 3]] == [b"b"]
    ((_, _, headers),) = found[LETTERS, 0]
    assert dict(headers)["reason"] == b"topic 'mine' does not exist"


async def test_an_answer_that_is_too_large_becomes_an_error() -> None:
    """Sizes and a way out are told; neighbours on the same topic are answered."""
    replies, _ = replies_to()
    reply = reply_to(RESPONSES)
    records = [record(n, reply) for n in range(3)]
    found = rows(replies.compose(answered(records, [b"a", bytes(1_048_588), b"c"], serving())))
    ((_, small, _), error, (_, last, _)) = found.pop((RESPONSES, 3))
    assert (small, last) == (b"a", b"c")
    assert error_in(error).code == "RESOURCE_EXHAUSTED"
    assert "takes 1048588: ask for fewer rows or outputs, or raise" in error_in(error).message
    assert dict(error[2])["error-code"] == b"RESOURCE_EXHAUSTED"
    assert not found


@pytest.mark.parametrize("size", [10, 4000, 4900, 5000, 16_000, 17_000, 70_000])
async def test_nothing_larger_than_a_topic_takes_is_sent_there(size: int) -> None:
    """However narrow a topic is, what does not fit becomes an error that does."""
    replies, _ = replies_to()
    requests = answered([record(0, reply_to(NARROW))], [bytes(size)], serving())
    found = rows(replies.compose(requests))
    ((key, value, headers),) = found[NARROW, 0]
    assert Outgoing(NARROW, 0, key, value, headers).size_bytes <= NARROW_BYTES
    if size > NARROW_BYTES:
        assert error_in((key, value, headers)).code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("where", ["key", "correlation-id", "traceparent"])
async def test_an_answer_whose_own_headers_do_not_fit_is_a_dead_letter(where: str) -> None:
    """Not even an error fits: what a client gave along is larger than its topic."""
    replies, _ = replies_to()
    large = bytes(NARROW_BYTES)
    if where == "key":
        request = record(0, reply_to(NARROW), key=large)
    else:
        request = record(0, reply_to(NARROW), (where, large))
    found = rows(replies.compose(answered([request], [b"a"], serving())))
    ((_, value, headers),) = found.pop((LETTERS, 0))
    assert value == request.value
    assert b"takes 5000" in dict(headers)["reason"]
    assert not found


async def test_dead_letters_are_cut_to_fit_their_topic() -> None:
    """A request that the dead-letter topic cannot hold leaves its origin and reason there."""
    narrow = (DESTINATIONS[0], Destination(LETTERS, 1, max_bytes=1000))
    replies, _ = replies_to(*narrow)
    records = [record(0, ("x", b"y"), value=bytes(2000))]
    ((_, value, headers),) = rows(replies.compose(answered(records, [UNREADABLE])))[LETTERS, 0]
    assert value is None
    assert dict(headers)["truncated-bytes"] == b"2000"
    assert dict(headers)["origin-offset"] == b"100"


async def test_leaving_a_request_unanswered_is_our_mistake() -> None:
    """No offset may pass a request that nobody answered."""
    replies, _ = replies_to()
    requests = Requests([record(0)], default_deadline_seconds=30)
    with pytest.raises(RuntimeError, match="offset 100 was left unanswered"):
        replies.compose(requests)
