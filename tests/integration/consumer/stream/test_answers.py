"""What leaves the Kafka door for each kind of request, on a real broker."""

import time

import pytest

from headrace.consumer.core.errors import WorkerDied
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream import KafkaDoor, StreamOptions
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceRequest, InferenceResponse, ModelConfig
from headrace.schemas.topics import TopicSpec
from tests.fakes.correspondent import (
    Ask,
    Correspondent,
    answered,
    error_of,
    half,
    headers_of,
    ready,
    serving_map,
)


async def test_answers_with_provenance_and_what_the_client_gave(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Key, correlation id and trace come back, with the version that answered and its origin."""
    given = (("correlation-id", b"c-1"), ("traceparent", b"00-1-2-01"), ("affinity", b"me"))
    async with KafkaDoor(connection, serving_map(half(3)), ready(), options):
        await client.ask(options.topics.requests, [Ask(4.0, key=b"k", partition=1, headers=given)])
        (message,) = await client.read(options.topics.responses, 1)
    assert answered(message) == 4.0
    assert (message.key, message.partition) == (b"k", 1)
    assert headers_of(message) == {
        "correlation-id": b"c-1",
        "traceparent": b"00-1-2-01",
        "model": b"half",
        "version": b"3",
        "control-offset": b"43",
        "artifact-digest": f"sha256:{3:064x}".encode(),
        "node": b"n1",
        "plan-offset": b"-1",
        "routed-by": b"latest",
    }


async def test_keeps_the_order_of_a_partition_whatever_the_routes(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Answers leave in the order of requests, though models and errors are mixed."""
    models = ("half", "other", "nobody")
    asks = [
        Ask(float(n), models[n % 3], headers=[("correlation-id", b"%d" % n)]) for n in range(3000)
    ]
    door = KafkaDoor(connection, serving_map(half(), half(model="other")), ready(), options)
    async with door:
        await client.ask(options.topics.requests, asks)
        found = await client.read(options.topics.responses, 3000)
    assert [headers_of(m)["correlation-id"] for m in found] == [b"%d" % n for n in range(3000)]
    assert {answered(m) for m in found[2::3]} == {"NOT_FOUND"}
    assert [answered(m) for m in found[0::3]] == [n / 2 + 2 for n in range(0, 3000, 3)]


@pytest.mark.parametrize(
    ("request_record", "code", "words"),
    [
        (InferenceRequest(model="nobody"), "NOT_FOUND", "Servable not found"),
        (InferenceRequest(model="half", version=9), "NOT_FOUND", "Specific(half, 9)"),
        (InferenceRequest(model="half", label="gold"), "INVALID_ARGUMENT", "'gold'"),
        (InferenceRequest(model="half", signature="s"), "FAILED_PRECONDITION", "'s'"),
        (InferenceRequest(model="half"), "INVALID_ARGUMENT", "expected x"),
        (InferenceRequest(model="half", version=2), "UNAVAILABLE", "still loading"),
    ],
)
async def test_answers_errors_with_code_and_words(  # noqa: PLR0917 - fixtures and a row
    connection: KafkaConnection,
    options: StreamOptions,
    client: Correspondent,
    request_record: InferenceRequest,
    code: str,
    words: str,
) -> None:
    """A request that cannot be served gets the same code as by any other door."""
    served = serving_map(half())
    served.model("half").coming = frozenset({2})
    async with KafkaDoor(connection, served, ready(), options):
        await client.ask(options.topics.requests, [Ask(value=encode(request_record), key=b"k")])
        (message,) = await client.read(options.topics.responses, 1)
    assert answered(message) == code
    assert words in error_of(message)
    assert message.key == b"k"
    assert headers_of(message)["node"] == b"n1"


async def test_answers_for_a_worker_that_died(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """What the servable raises becomes the answer of its group, and the door goes on."""
    broken = half()
    broken.raise_all(WorkerDied("worker died: killed by SIGSEGV"))
    other = half(model="other")
    async with KafkaDoor(connection, serving_map(broken, other), ready(), options):
        await client.ask(options.topics.requests, [Ask(1.0), Ask(2.0, "other"), Ask(3.0)])
        found = await client.read(options.topics.responses, 3)
    assert [answered(m) for m in found] == ["UNAVAILABLE", 3.0, "UNAVAILABLE"]
    assert error_of(found[0]) == "worker died: killed by SIGSEGV"
    assert headers_of(found[0])["version"] == b"1"


async def test_deadlines(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Expired requests never reach the model, malformed deadlines are refused, others are kept."""
    servable = half()
    now_ms = int(time.time() * 1000)
    deadlines = [b"%d" % (now_ms - 1), b"soon", b"%d" % (now_ms + 20_000), b"9" * 400, b""]
    async with KafkaDoor(connection, serving_map(servable), ready(), options):
        await client.ask(
            options.topics.requests, [Ask(2.0, headers=[("deadline-ms", d)]) for d in deadlines]
        )
        found = await client.read(options.topics.responses, 5)
    assert [answered(m) for m in found] == [
        "DEADLINE_EXCEEDED",
        "INVALID_ARGUMENT",
        3.0,
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
    ]
    assert "'soon'" in error_of(found[1])
    assert len(servable.calls) == 1
    assert servable.deadlines_seconds[0] < time.monotonic() + 21


async def test_answers_on_the_topic_that_the_request_names(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """A reply topic that exists gets the answer; one that cannot be makes a dead letter."""
    mine = f"{topic_prefix}mine"
    await ensure_topics(connection, [TopicSpec(name=mine, partitions=1)])
    replies = [mine, f"{topic_prefix}nowhere", options.topics.control, "__consumer_offsets", "ä b"]
    servable = half()
    async with KafkaDoor(connection, serving_map(servable), ready(), options):
        await client.ask(
            options.topics.requests,
            [Ask(2.0, partition=1, headers=[("reply-topic", t.encode())]) for t in replies]
            + [Ask(4.0, partition=1)],
        )
        found = await client.read(mine, 1)
        letters = await client.read(options.topics.dead_letters, 4)
        rest = await client.read(options.topics.responses, 1)
    assert [answered(m) for m in found] == [3.0]
    assert "reply-topic" not in headers_of(found[0])
    assert [answered(m) for m in rest] == [4.0]
    reasons = [headers_of(m)["reason"].decode() for m in letters]
    assert ["does not exist" in r or "is reserved" in r for r in reasons] == [True] * 4
    assert "is reserved" in reasons[1]
    assert "is reserved" in reasons[2]
    assert len(servable.calls) == 2


async def test_a_reply_topic_made_after_the_door_is_found(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """A client may make its reply topic and ask at once."""
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        for number in range(3):
            mine = f"{topic_prefix}mine-{number}"
            await ensure_topics(connection, [TopicSpec(name=mine, partitions=1)])
            header = ("reply-topic", mine.encode())
            await client.ask(options.topics.requests, [Ask(2.0, headers=[header])])
            assert [answered(m) for m in await client.read(mine, 1)] == [3.0]


async def test_poison_goes_to_the_dead_letters_and_its_neighbours_are_served(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Original bytes, key, headers and origin are kept; who can be answered is."""
    good = Ask(2.0).payload()
    assert good is not None
    poisons = [b"", None, b"garbage", good[:11], b"\xc3\x01" + bytes(20), good[:-3], b"\xff" * 9999]
    asks = [Ask(1.0)]
    for number, poison in enumerate(poisons):
        headers = [("correlation-id", b"%d" % number)] if number % 2 else [("x", b"y")]
        asks += [Ask(value=poison, key=b"k%d" % number, headers=headers), Ask(float(number))]
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        await client.ask(options.topics.requests, asks)
        letters = await client.read(options.topics.dead_letters, len(poisons))
        answers = await client.read(options.topics.responses, 8 + 3)
    assert [letter.value for letter in letters] == poisons
    for number, letter in enumerate(letters):
        told = headers_of(letter)
        assert letter.key == b"k%d" % number
        assert told["origin-topic"] == options.topics.requests.encode()
        assert told["origin-partition"] == b"0"
        assert told["origin-offset"] == b"%d" % (2 * number + 1)
        assert told["reason"]
        assert told.get("correlation-id", told.get("x")) in (b"%d" % number, b"y")
    refused = [m for m in answers if answered(m) == "INVALID_ARGUMENT"]
    assert [headers_of(m)["correlation-id"] for m in refused] == [b"1", b"3", b"5"]
    assert len(answers) == 11


async def test_an_answer_larger_than_its_topic_takes_becomes_an_error(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """Sizes are told in words, and the next answers on the same partition arrive."""
    narrow = f"{topic_prefix}narrow"
    await ensure_topics(
        connection,
        [TopicSpec(name=narrow, partitions=1, configs={"max.message.bytes": "60000"})],
    )
    servable = half()
    huge = encode(InferenceResponse(model="half", signature="s" * 70_000))
    servable.answer_all(huge)
    reply = ("reply-topic", narrow.encode())
    async with KafkaDoor(connection, serving_map(servable), ready(), options):
        await client.ask(options.topics.requests, [Ask(1.0, headers=[reply])])
        (refused,) = await client.read(narrow, 1)
        servable.answer_all(encode(InferenceResponse(model="h" * 7000)))
        await client.ask(options.topics.requests, [Ask(1.0, headers=[reply])] * 100)
        found = await client.read(narrow, 101)
    assert answered(refused) == "RESOURCE_EXHAUSTED"
    assert "70" in error_of(refused)
    assert "60000" in error_of(refused)
    assert decode(refused.value or b"", InferenceResponse).version == 1
    assert len(found) == 101


async def test_huge_garbage_does_not_wedge_the_partition(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """5 MB that no schema reads pass, and what does not fit the dead letters is counted."""
    wide = f"{topic_prefix}wide"
    spec = TopicSpec(name=wide, partitions=1, configs={"max.message.bytes": "9000000"})
    await ensure_topics(connection, [spec])
    told = StreamOptions(
        node="n1", group=options.group, topics=options.topics, request_topics=(wide,)
    )
    garbage = bytes(range(256)) * (5 * 4096)
    async with KafkaDoor(connection, serving_map(half()), ready(), told):
        await client.ask(
            wide,
            [
                Ask(value=garbage, key=b"k"),
                Ask(2.0),
                Ask(value=b"bad", key=garbage[:2_000_000]),
                Ask(4.0),
            ],
        )
        letters = await client.read(options.topics.dead_letters, 2)
        answers = await client.read(options.topics.responses, 2)
    assert [answered(m) for m in answers] == [3.0, 4.0]
    assert [(m.key, m.value) for m in letters] == [(b"k", None), (None, None)]
    assert int(headers_of(letters[0])["truncated-bytes"]) == len(garbage)
    assert int(headers_of(letters[1])["truncated-bytes"]) >= 2_000_000
    assert headers_of(letters[1])["origin-offset"] == b"2"


async def test_splits_traffic_by_affinity_or_key(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """One caller stays on one arm; many callers are spread over both."""
    served: ServingMap = serving_map(half(1), half(2))
    served.model("half").configure(ModelConfig(model="half", split={"1": 50, "2": 50}))
    asks = [Ask(2.0, key=b"%d" % (n % 20)) for n in range(200)]
    asks += [Ask(2.0, key=b"%d" % n, headers=[("affinity", b"me")]) for n in range(20)]
    async with KafkaDoor(connection, served, ready(), options):
        await client.ask(options.topics.requests, asks)
        found = await client.read(options.topics.responses, 220)
    arms: dict[bytes | None, set[bytes]] = {}
    for message in found[:200]:
        arms.setdefault(message.key, set()).add(headers_of(message)["version"])
    assert all(len(versions) == 1 for versions in arms.values())
    assert {v for versions in arms.values() for v in versions} == {b"1", b"2"}
    assert len({headers_of(m)["version"] for m in found[200:]}) == 1
