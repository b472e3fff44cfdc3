"""Inference over Kafka, against a responder that halves and adds two on the real topics."""

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from headrace.publisher import (
    Inference,
    InferenceClient,
    InferenceFailed,
    InvalidArgument,
    KafkaConnection,
    TopicMismatch,
    make_request,
)
from headrace.publisher.inference import Request
from headrace.publisher.topics import ensure_topics
from headrace.schemas import codec
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import from_tensor
from headrace.schemas.topics import Topics, TopicSpec, specs
from tests.fakes.responder import Responder, keep_silent

PARTITIONS = 2


@pytest.fixture
async def responder(connection: KafkaConnection, topics: Topics) -> Responder:
    await ensure_topics(connection, specs(topics, request_partitions=PARTITIONS))
    return Responder(connection, topics, PARTITIONS)


@pytest.fixture
async def client(
    connection: KafkaConnection, topics: Topics, responder: Responder
) -> AsyncIterator[InferenceClient]:
    async with InferenceClient(
        connection, topics=topics, max_outstanding=500, max_request_bytes=10_000
    ) as opened:
        yield opened


def x(value: float) -> dict[str, list[float]]:
    """Return the inputs of half plus two."""
    return {"x": [value]}


async def test_asks_and_is_answered(client: InferenceClient, responder: Responder) -> None:
    """Outputs and provenance come back; key, deadline and reply topic travel."""
    async with responder.answering():
        answer = await client.infer("ranker", x(5.0), label="stable", key=b"user-1", timeout=20)
    assert answer.outputs["y"].tolist() == [4.5]
    assert (answer.model, answer.version, answer.node) == ("ranker", 3, "node-a")
    (message,) = responder.seen
    assert message.key == b"user-1"
    deadline_ms = int(dict(message.headers)["deadline-ms"])
    assert abs(deadline_ms - (time.time() + 20) * 1000) < 15_000
    assert message.value is not None
    assert codec.decode(message.value, InferenceRequest).label == "stable"


async def test_says_how_a_request_is_to_be_routed(
    client: InferenceClient, responder: Responder
) -> None:
    """Affinity and control offset travel as headers, of one request and of many."""
    async with responder.answering():
        await client.infer("ranker", x(1.0), affinity=b"user-7", min_control_offset=17)
        await client.infer_many([("ranker", x(1.0))] * 2, min_control_offset=18)
    headers = [dict(message.headers) for message in responder.seen]
    assert [each.get("min-control-offset") for each in headers] == [b"17", b"18", b"18"]
    assert [each.get("affinity") for each in headers] == [b"user-7", None, None]
    with pytest.raises(InvalidArgument, match="min_control_offset is -1"):
        await client.infer("ranker", x(1.0), min_control_offset=-1)


async def test_many_answers_stand_where_their_requests_stood(
    client: InferenceClient, responder: Responder
) -> None:
    """More requests than may be outstanding, over all partitions."""
    async with responder.answering():
        results = await client.infer_many([("ranker", x(n)) for n in range(2000)])
    values = [r.outputs["y"].item() for r in results if isinstance(r, Inference)]
    assert values == [n / 2 + 2 for n in range(2000)]
    assert {message.partition for message in responder.seen} == set(range(PARTITIONS))


async def test_requests_of_one_key_keep_their_order(
    client: InferenceClient, responder: Responder
) -> None:
    """They go to one partition, the one that Kafka's own client would choose for the key."""
    keys = [b"user-%d" % (n % 7) for n in range(300)]
    async with responder.answering():
        await client.infer_many([("ranker", x(n)) for n in range(300)], keys=keys)
        for key in set(keys):
            await client.infer("ranker", x(1000), key=key)
    for key in set(keys):
        records = [message for message in responder.seen if message.key == key]
        assert len({message.partition for message in records}) == 1
        values = [
            from_tensor(codec.decode(m.value or b"", InferenceRequest).inputs[0]).item()
            for m in records
        ]
        assert values == sorted(values)


async def test_one_failure_does_not_lose_the_others(
    client: InferenceClient, responder: Responder
) -> None:
    """Not encodable, too large, and refused by the node, among good ones."""
    requests: list[Request] = [
        ("ranker", x(1.0)),
        ("ranker", {"x": np.array([object()])}),
        ("ranker", {"x": np.zeros(10_000)}),
        make_request("unknown", x(1.0)),
        ("ranker", x(2.0)),
    ]
    async with responder.answering():
        results = await client.infer_many(requests)
    codes = [r.code if isinstance(r, InferenceFailed) else "OK" for r in results]
    assert codes == ["OK", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "NOT_FOUND", "OK"]
    assert len(responder.seen) == 3


@pytest.mark.parametrize(
    ("model", "inputs", "code"),
    [
        ("unknown", x(1.0), "NOT_FOUND"),
        ("ranker", {"x": np.array([object()])}, "INVALID_ARGUMENT"),
        ("ranker", {"x": np.zeros(10_000)}, "INVALID_ARGUMENT"),
    ],
)
async def test_a_single_failure_is_raised(
    client: InferenceClient, responder: Responder, model: str, inputs: dict[str, object], code: str
) -> None:
    """With the code that gRPC would give."""
    async with responder.answering():
        with pytest.raises(InferenceFailed) as failed:
            await client.infer(model, inputs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert failed.value.code == code


async def test_a_refused_request_does_not_spoil_the_next(
    connection: KafkaConnection, topics: Topics
) -> None:
    """The topic takes less than the client thinks: the broker's no fails one request only."""
    narrow = TopicSpec(
        name=topics.requests, partitions=PARTITIONS, configs={"max.message.bytes": "2000"}
    )
    await ensure_topics(connection, [narrow, *specs(topics)[3:4]])
    large = {"x": np.arange(1000.0)}
    async with (
        InferenceClient(connection, topics=topics) as client,
        Responder(connection, topics, PARTITIONS).answering(),
    ):
        for _ in range(2):
            with pytest.raises(InferenceFailed, match="UNAVAILABLE: Kafka did not take"):
                await client.infer("ranker", large, key=b"same partition")
            results = await client.infer_many([("ranker", large)] * 2)
            assert [r.code for r in results if isinstance(r, InferenceFailed)] == [
                "UNAVAILABLE"
            ] * 2
            answer = await client.infer("ranker", x(5.0), key=b"same partition")
            assert answer.outputs["y"].tolist() == [4.5]


async def test_the_deadline_ends_the_wait(client: InferenceClient) -> None:
    """Nobody answers: single and many end alike, and leave room for the next."""
    with pytest.raises(InferenceFailed, match=r"DEADLINE_EXCEEDED: no answer in 0\.2 s"):
        await client.infer("ranker", x(1.0), timeout=0.2)
    results = await client.infer_many([("ranker", x(1.0))] * 1200, timeout=0.5)
    assert len(results) == 1200
    assert {r.code for r in results if isinstance(r, InferenceFailed)} == {"DEADLINE_EXCEEDED"}


async def test_late_answers_disturb_nobody(client: InferenceClient, responder: Responder) -> None:
    """The answer to a request that was given up is not taken for another one's."""
    with pytest.raises(InferenceFailed, match="DEADLINE_EXCEEDED"):
        await client.infer("ranker", x(100.0), timeout=0.2)
    async with responder.answering():
        answer = await client.infer("ranker", x(2.0))
    assert answer.outputs["y"].tolist() == [3.0]
    assert len(responder.seen) == 2


async def test_clients_do_not_take_each_others_answers(
    client: InferenceClient, connection: KafkaConnection, topics: Topics, responder: Responder
) -> None:
    """All of them read one response topic."""
    async with InferenceClient(connection, topics=topics) as other, responder.answering():
        mine, theirs = await asyncio.gather(
            client.infer_many([("ranker", x(n)) for n in range(200)]),
            other.infer_many([("ranker", x(-n)) for n in range(200)]),
        )
    for results, sign in ((mine, 1), (theirs, -1)):
        values = [r.outputs["y"].item() for r in results if isinstance(r, Inference)]
        assert values == [sign * n / 2 + 2 for n in range(200)]


async def test_closing_ends_what_still_waits(
    connection: KafkaConnection, topics: Topics, responder: Responder
) -> None:
    """Callers in other tasks hear that the client is gone, and when it is gone they hear it too."""
    async with InferenceClient(connection, topics=topics) as client:
        waiting = asyncio.gather(client.infer("ranker", x(1.0)), return_exceptions=True)
        async with responder.answering(keep_silent), asyncio.timeout(30):
            await responder.arrived.wait()
    (failure,) = await waiting
    assert isinstance(failure, InferenceFailed)
    assert failure.code == "CANCELLED"
    with pytest.raises(InferenceFailed, match="CANCELLED"):
        await client.infer("ranker", x(1.0))


async def test_a_callers_error_passes_unwrapped(
    connection: KafkaConnection, topics: Topics, responder: Responder
) -> None:
    """The client's own tasks must not turn it into an exception group."""
    with pytest.raises(ZeroDivisionError):
        async with InferenceClient(connection, topics=topics):
            raise ZeroDivisionError


async def test_keys_and_requests_must_match(client: InferenceClient) -> None:
    """A forgotten key would shift all others."""
    with pytest.raises(InvalidArgument, match="1 keys for 2 requests"):
        await client.infer_many([("ranker", x(1.0))] * 2, keys=[b"a"])
    assert await client.infer_many([]) == []


async def test_names_the_topics_that_are_missing(
    connection: KafkaConnection, topics: Topics
) -> None:
    """A client never creates topics: it would guess their shape."""
    with pytest.raises(TopicMismatch, match=f"{topics.requests}, {topics.responses}"):
        async with InferenceClient(connection, topics=topics):
            pass
