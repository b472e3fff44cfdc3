"""One committed answer per request: answers and offsets are one transaction, whoever fails when."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from headrace.consumer.stream import KafkaDoor, StreamOptions
from headrace.consumer.stream.clients import KafkaError, TopicPartition
from headrace.consumer.stream.delivery import FAILURES
from headrace.consumer.stream.destinations import DEFAULT_MAX_BYTES, Destinations
from headrace.consumer.stream.exactly_once import ExactlyOnce, ExactlyOnceOutlet
from headrace.consumer.stream.options import DeliveryGuarantee
from headrace.consumer.stream.outgoing import Parcel
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, TopicSpec
from tests.fakes.correspondent import (
    Ask,
    Correspondent,
    answered,
    half,
    headers_of,
    ready,
    serving_map,
)


@pytest.fixture
def options(topics: Topics, unique_name: str) -> StreamOptions:
    """The settings of a door that answers exactly once, and commits when it must."""
    return StreamOptions(
        node="n1",
        group=unique_name,
        topics=topics,
        delivery=DeliveryGuarantee.EXACTLY_ONCE,
        # Long enough to look at what is sent and not committed; Kafka's own patience is 15 s.
        transaction_interval_seconds=10,
    )


@pytest.fixture
def partition(options: StreamOptions) -> TopicPartition:
    """The first partition of the requests."""
    return TopicPartition(options.topics.requests, 0)


class Outlets:
    """Opens outlets for one partition, as nodes do that have it one after the other.

    **Concurrency:** one task.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: StreamOptions,
        partition: TopicPartition,
        opened: AsyncExitStack,
    ) -> None:
        self._destinations = Destinations(connection)
        own = (options.topics.responses,)
        self._delivery = ExactlyOnce(connection, self._destinations, options, own)
        self._responses = options.topics.responses
        self._partition = partition
        self._opened = opened

    async def open(self) -> ExactlyOnceOutlet:
        """Return one that is open until the test ends."""
        return await self._opened.enter_async_context(self._delivery.outlet(self._partition))

    def refusal(self, topic: str) -> str | None:
        """Return why a topic takes no answers."""
        return self._destinations.refusal(topic)

    def parcel(self, *numbers: int) -> Parcel:
        """Return answers that are their numbers."""
        made = Parcel(self._responses, 0, DEFAULT_MAX_BYTES)
        made.rows += [(None, b"%d" % number, []) for number in numbers]
        return made


@pytest.fixture
async def outlets(
    connection: KafkaConnection, options: StreamOptions, partition: TopicPartition
) -> AsyncIterator[Outlets]:
    """Outlets for the first partition."""
    async with AsyncExitStack() as opened:
        yield Outlets(connection, options, partition, opened)


def numbered(numbers: Sequence[int]) -> list[Ask]:
    """Return requests that say their number."""
    return [Ask(float(n), key=b"k", headers=[("correlation-id", b"%d" % n)]) for n in numbers]


async def values(client: Correspondent, topic: str, count: int, **how: str) -> list[bytes | None]:
    """Return the values on a topic, once there are so many."""
    return [message.value for message in await client.read(topic, count, seconds=20, **how)]


async def correlations(client: Correspondent, topic: str, count: int) -> list[int]:
    """Return the numbers of the committed answers, once there are so many, and any after them."""
    await client.read(topic, count)
    found = await client.read(topic, 10**9, seconds=0.5)
    return [int(headers_of(message)["correlation-id"]) for message in found]


async def test_answers_are_invisible_until_their_offset_is_committed(
    client: Correspondent, outlets: Outlets, options: StreamOptions, partition: TopicPartition
) -> None:
    """A reader of what is committed sees an answer when its request is done with, not before."""
    responses, requests = options.topics.responses, partition.topic
    outlet = await outlets.open()
    await outlet.send([outlets.parcel(1, 2)])
    assert await values(client, responses, 2, isolation="read_uncommitted") == [b"1", b"2"]
    assert await client.read(responses, 1, seconds=0.5) == []
    assert await client.committed(options.group, requests) is None
    await outlet.commit(7)
    assert await values(client, responses, 2) == [b"1", b"2"]
    assert await client.committed(options.group, requests) == 7


async def test_a_commit_without_answers_moves_the_offset(
    client: Correspondent, outlets: Outlets, options: StreamOptions, partition: TopicPartition
) -> None:
    """Requests that need no answer are done with all the same, and the outlet goes on."""
    outlet = await outlets.open()
    await outlet.commit(3)
    assert await client.committed(options.group, partition.topic) == 3
    await outlet.send([outlets.parcel(4)])
    await outlet.commit(5)
    assert await values(client, options.topics.responses, 1) == [b"4"]


async def test_a_door_that_goes_between_send_and_commit_leaves_no_answer_twice(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """What was sent and not committed is answered again by the next door, and counts once."""
    requests, responses = options.topics.requests, options.topics.responses
    stuck = half()
    impatient = replace(options, drain_timeout_seconds=0.0)
    async with KafkaDoor(connection, serving_map(stuck), ready(), impatient):
        await client.ask(requests, numbered(range(1)))
        await client.read(responses, 1)
        await client.ask(requests, numbered(range(1, 11)))
        await client.read(responses, 11, isolation="read_uncommitted")
        stuck.hold()
        await client.ask(requests, numbered(range(11, 16)))
        async with asyncio.timeout(30):
            await stuck.wait_inside(5)
    assert await client.committed(options.group, requests) == 1
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        assert await correlations(client, responses, 16) == list(range(16))
    # One was answered once, ten twice, five once; and each transaction has its marker.
    everything = await client.read(responses, 26, isolation="read_uncommitted")
    assert len(everything) == 26
    assert await client.committed(options.group, requests) == 16


async def test_a_stop_commits_what_is_sent_at_once(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """A door that is closed does not wait for its next transaction to be due."""
    requests, responses = options.topics.requests, options.topics.responses
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        await client.ask(requests, numbered(range(1)))
        await client.read(responses, 1)
        await client.ask(requests, numbered(range(1, 5)))
        await client.read(responses, 5, isolation="read_uncommitted")
        assert await client.committed(options.group, requests) == 1
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5
    assert await client.committed(options.group, requests) == 5
    assert await correlations(client, responses, 5) == list(range(5))


async def test_a_partition_that_moves_takes_its_requests_along(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """A second door takes over what the first one has in hand; each answer is there once."""
    requests, responses = options.topics.requests, options.topics.responses
    stuck = half()
    impatient = replace(options, drain_timeout_seconds=0.0)
    async with KafkaDoor(connection, serving_map(stuck), ready(), impatient):
        for number in (0, 1):
            asks = [replace(ask, partition=number) for ask in numbered(range(5))]
            await client.ask(requests, asks)
        await client.read(responses, 10)
        stuck.hold()
        for number in (0, 1):
            asks = [replace(ask, partition=number) for ask in numbered(range(5, 10))]
            await client.ask(requests, asks)
        async with asyncio.timeout(30):
            await stuck.wait_inside(10)
        second = replace(impatient, node="n2")
        async with KafkaDoor(connection, serving_map(half()), ready(), second):
            await client.read(responses, 15)
            await stuck.release()
            found = await correlations(client, responses, 20)
    assert sorted(found) == sorted([*range(10), *range(10)])


@pytest.mark.parametrize("has_sent", [False, True])
async def test_a_zombie_is_fenced(
    client: Correspondent,
    outlets: Outlets,
    options: StreamOptions,
    partition: TopicPartition,
    has_sent: bool,
) -> None:
    """Who lost a partition without knowing can commit nothing, and what it sent is never seen."""
    zombie = await outlets.open()
    await zombie.send([outlets.parcel(1)])
    await zombie.commit(1)
    if has_sent:
        await zombie.send([outlets.parcel(99)])
    owner = await outlets.open()
    with pytest.raises(FAILURES):  # noqa: PT012 - either step may be the one that is refused
        await zombie.send([outlets.parcel(99)])
        await zombie.commit(99)
    await owner.send([outlets.parcel(2)])
    await owner.commit(2)
    with pytest.raises(FAILURES):
        await zombie.commit(99)
    assert await values(client, options.topics.responses, 2) == [b"1", b"2"]
    assert len(await client.read(options.topics.responses, 3, seconds=0.5)) == 2
    assert await client.committed(options.group, partition.topic) == 2


@pytest.mark.parametrize("interval_seconds", [0.0, 1.0])
async def test_a_door_that_was_fenced_takes_its_partition_back(
    connection: KafkaConnection,
    options: StreamOptions,
    client: Correspondent,
    outlets: Outlets,
    interval_seconds: float,
) -> None:
    """Its next transaction fails, at the commit or before; it begins anew, and answers once."""
    requests, responses = options.topics.requests, options.topics.responses
    told = replace(options, transaction_interval_seconds=interval_seconds)
    async with KafkaDoor(connection, serving_map(half()), ready(), told):
        await client.ask(requests, numbered(range(5)))
        await client.read(responses, 5)
        intruder = await outlets.open()
        await client.ask(requests, numbered(range(5, 10)))
        assert await correlations(client, responses, 10) == list(range(10))
        with pytest.raises(FAILURES):  # noqa: PT012 - either step may be the one that is refused
            await intruder.send([outlets.parcel(99)])
            await intruder.commit(99)
        await client.ask(requests, numbered(range(10, 12)))
        assert await correlations(client, responses, 12) == list(range(12))
    assert await client.committed(options.group, requests) == 12


async def test_a_commit_whose_end_is_not_known_is_settled_by_the_next_outlet(
    client: Correspondent, outlets: Outlets, options: StreamOptions, partition: TopicPartition
) -> None:
    """Wherever a commit is cut off, the committed offset tells what is left to be answered."""
    responses, requests = options.topics.responses, partition.topic
    position, known = 0, set[bool]()
    for turns in range(24):
        outlet = await outlets.open()
        position = await client.committed(options.group, requests) or 0
        await outlet.send([outlets.parcel(position)])
        committing = asyncio.create_task(outlet.commit(position + 1))
        # Time is the fault that is injected here: from before the first request to after the last.
        await asyncio.wait([committing], timeout=turns * 0.002)
        committing.cancel()
        await asyncio.wait([committing])
        await outlet.__aexit__(None, None, None)
        known.add(committing.cancelled())
    last = await outlets.open()
    position = await client.committed(options.group, requests) or 0
    await last.send([outlets.parcel(position)])
    await last.commit(position + 1)
    expected = [b"%d" % number for number in range(position + 1)]
    assert await values(client, responses, len(expected)) == expected
    assert len(await client.read(responses, 10**9, seconds=0.5)) == len(expected)
    assert True in known
    assert position > 0


async def test_a_refused_record_keeps_its_transaction_from_being_committed(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """Nothing of the attempt counts; the next one does without the record, and counts whole."""
    compacted = f"{topic_prefix}compacted"
    # A compacted topic refuses records without a key.
    spec = TopicSpec(name=compacted, partitions=1, configs={"cleanup.policy": "compact"})
    await ensure_topics(connection, [spec])
    requests, responses = options.topics.requests, options.topics.responses
    reply = ("reply-topic", compacted.encode())
    asks = [Ask(2.0, key=b"k"), Ask(4.0, headers=[reply]), Ask(6.0, key=b"k", headers=[reply])]
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        await client.ask(requests, [*asks, Ask(8.0, key=b"k")])
        letters = await client.read(options.topics.dead_letters, 2)
        found = await client.read(responses, 2)
    attempts = await client.read(responses, 4, seconds=5, isolation="read_uncommitted")
    assert [answered(message) for message in found] == [3.0, 6.0]
    assert [answered(message) for message in attempts] == [3.0, 6.0, 3.0, 6.0]
    assert [letter.value for letter in letters] == [ask.payload() for ask in asks[1:]]
    assert all(b"refused the answer" in headers_of(letter)["reason"] for letter in letters)
    assert await client.read(compacted, 1, seconds=0.5) == []
    assert await client.committed(options.group, requests) == 4


async def test_an_outlet_tells_which_topic_refused(
    connection: KafkaConnection,
    options: StreamOptions,
    client: Correspondent,
    outlets: Outlets,
    topic_prefix: str,
) -> None:
    """The refusal is an error of the commit, and the offset stays where it was."""
    compacted = f"{topic_prefix}compacted"
    spec = TopicSpec(name=compacted, partitions=1, configs={"cleanup.policy": "compact"})
    await ensure_topics(connection, [spec])
    refused = Parcel(compacted, 0, DEFAULT_MAX_BYTES)
    refused.rows.append((None, b"1", []))
    outlet = await outlets.open()
    await outlet.send([outlets.parcel(1), refused])
    with pytest.raises(KafkaError):
        await outlet.commit(1)
    assert outlets.refusal(compacted) is not None
    assert outlets.refusal(options.topics.responses) is None
    await outlets.open()
    assert await client.read(options.topics.responses, 1, seconds=0.5) == []
    assert await client.committed(options.group, options.topics.requests) is None
