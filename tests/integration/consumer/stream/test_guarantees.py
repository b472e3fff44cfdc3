"""What the Kafka door promises when things go wrong: nothing lost, order kept, the rest served."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.cli.broker import EmbeddedBroker
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.stream import KafkaDoor, StreamOptions
from headrace.publisher.clients import Message
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, TopicSpec, specs
from tests.fakes.correspondent import (
    Ask,
    Correspondent,
    answered,
    correspondent,
    half,
    headers_of,
    ready,
    serving_map,
)
from tests.fakes.servable import FakeServable


def numbered(count: int, *, partition: int = 0, start: int = 0, model: str = "half") -> list[Ask]:
    """Return requests that say their number, in their headers and in what they ask."""
    return [
        Ask(
            float(number),
            model,
            partition=partition,
            key=b"p%d" % partition,
            headers=[("correlation-id", b"%d" % number)],
        )
        for number in range(start, start + count)
    ]


def numbers(messages: list[Message], partition: int) -> list[int]:
    """Return the numbers of the answers to one partition, each where it first appears."""
    return list(
        dict.fromkeys(
            int(headers_of(m)["correlation-id"]) for m in messages if m.partition == partition
        )
    )


def covers(count: int, *partitions: int) -> "Covers":
    """Return whether the answers to all numbers on these partitions are there."""
    return Covers(count, partitions)


class Covers:
    """Every number below `count` is answered on each of the partitions."""

    def __init__(self, count: int, partitions: tuple[int, ...]) -> None:
        self.count = count
        self.partitions = partitions

    def __call__(self, messages: list[Message]) -> bool:
        """Look."""
        return all(len(numbers(messages, p)) >= self.count for p in self.partitions)


async def test_commits_only_what_is_answered(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """While the model works nothing is committed; when the answers are there the end is."""
    servable = half()
    servable.hold()
    requests = options.topics.requests
    async with KafkaDoor(connection, serving_map(servable), ready(), options):
        await client.ask(requests, numbered(30))
        async with asyncio.timeout(30):
            await servable.wait_inside(30)
        assert await client.committed(options.group, requests) is None
        await servable.release()
        await client.read(options.topics.responses, 30)
    assert await client.committed(options.group, requests) == 30


async def test_what_was_not_answered_is_answered_by_the_next_door(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """A door that is torn away in the middle loses nothing: its offsets are not committed."""
    stuck = half()
    impatient = replace(options, drain_timeout_seconds=0.1)
    requests = options.topics.requests
    async with KafkaDoor(connection, serving_map(stuck), ready(), impatient):
        await client.ask(requests, numbered(20))
        await client.read(options.topics.responses, 20)
        stuck.hold()
        await client.ask(requests, numbered(20, start=20))
        async with asyncio.timeout(30):
            await stuck.wait_inside(20)
    assert stuck.cancelled == 20
    assert await client.committed(options.group, requests) == 20
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        found = await client.read_until(options.topics.responses, covers(40, 0))
    assert numbers(found, 0) == list(range(40))
    assert len(found) == 40


async def test_does_not_commit_before_the_answer_is_confirmed(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """An answer that the broker does not confirm keeps its request uncommitted."""
    frail, mine = f"{topic_prefix}frail", f"{topic_prefix}mine"
    # A compacted topic refuses records without a key: nothing is ever confirmed there.
    frail_spec = TopicSpec(name=frail, partitions=1, configs={"cleanup.policy": "compact"})
    await ensure_topics(connection, [frail_spec, TopicSpec(name=mine, partitions=1)])
    told = replace(
        options, topics=replace(options.topics, responses=frail), drain_timeout_seconds=0.2
    )
    requests, servable = options.topics.requests, half()
    async with KafkaDoor(connection, serving_map(servable), ready(), told):
        await client.ask(requests, [Ask(2.0)])
        for number in range(3):
            header = ("reply-topic", mine.encode())
            await client.ask(requests, [Ask(4.0, partition=1, headers=[header])])
            await client.read(mine, number + 1)
        async with asyncio.timeout(30):
            while await client.committed(options.group, requests, 1) != 3:
                await asyncio.sleep(0.05)
        # The one that cannot be confirmed is tried again and again, and delays nobody.
        assert servable.calls.count(Ask(4.0).payload() or b"") == 3
        assert await client.committed(options.group, requests, 0) is None
    assert await client.committed(options.group, requests, 0) is None


async def test_a_stop_finishes_what_is_in_flight(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Requests that a model has are answered and committed before the door is closed."""
    servable = half()
    servable.hold()
    requests = options.topics.requests
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            KafkaDoor(connection, serving_map(servable), ready(), options)
        )
        await client.ask(requests, numbered(50))
        async with asyncio.timeout(30):
            await servable.wait_inside(50)
        closing = asyncio.create_task(stack.aclose())
        await asyncio.wait([closing], timeout=0.2)
        assert not closing.done()
        await servable.release()
        async with asyncio.timeout(30):
            await closing
    assert len(await client.read(options.topics.responses, 50, seconds=5)) == 50
    assert await client.committed(options.group, requests) == 50


async def test_takes_nothing_before_the_node_is_ready(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Requests wait in the topic until the wanted versions have settled."""
    readiness, servable = Readiness(), half()
    await client.ask(options.topics.requests, numbered(5))
    async with KafkaDoor(connection, serving_map(servable), readiness, options):
        assert not await client.read(options.topics.responses, 1, seconds=1)
        readiness.enter(Phase.READY)
        assert len(await client.read(options.topics.responses, 5)) == 5
    assert len(servable.calls) == 5


async def test_a_door_that_never_got_ready_closes(
    connection: KafkaConnection, options: StreamOptions
) -> None:
    """Stopping does not wait for readiness."""
    async with asyncio.timeout(5), KafkaDoor(connection, serving_map(), Readiness(), options):
        pass


async def test_a_slow_model_delays_only_the_partitions_that_ask_it(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """The other partition is answered while one is stuck; on the stuck one nothing overtakes."""
    slow = half(model="slow")
    slow.hold()
    requests, responses = options.topics.requests, options.topics.responses
    async with KafkaDoor(connection, serving_map(half(), slow), ready(), options):
        await client.ask(requests, [*numbered(1, model="slow"), *numbered(9, start=1)])
        async with asyncio.timeout(30):
            await slow.wait_inside(1)
        await client.ask(requests, numbered(500, partition=1))
        found = await client.read_until(responses, covers(500, 1))
        assert numbers(found, 1) == list(range(500))
        assert numbers(found, 0) == []
        await slow.release()
        found = await client.read_until(responses, covers(10, 0))
    assert numbers(found, 0) == list(range(10))


async def test_what_is_in_flight_is_bounded(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """A partition whose model is stuck is paused at its bound, and goes on when there is room."""
    slow = half(model="slow")
    slow.hold()
    requests, responses = options.topics.requests, options.topics.responses
    narrow = replace(options, max_batch_records=10, max_in_flight_records=30)
    async with KafkaDoor(connection, serving_map(half(), slow), ready(), narrow):
        await client.ask(requests, numbered(400, model="slow"))
        async with asyncio.timeout(30):
            await slow.wait_inside(30)
        # Many turns of the door for the other partition, in which this one could take more.
        await client.ask(requests, numbered(300, partition=1))
        await client.read_until(responses, covers(300, 1))
        assert len(slow.calls) == 30
        await slow.release()
        found = await client.read_until(responses, covers(400, 0))
    assert numbers(found, 0) == list(range(400))


async def test_what_is_in_flight_is_bounded_in_bytes(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Large requests fill the bound with fewer of them."""
    slow = half(model="slow")
    slow.hold()
    size = len(numbered(1, model="slow")[0].payload() or b"")
    # Each of the two partitions has half of it.
    narrow = replace(options, max_batch_records=2, max_in_flight_bytes=2 * 3 * size)
    async with KafkaDoor(connection, serving_map(slow), ready(), narrow):
        await client.ask(options.topics.requests, numbered(40, model="slow"))
        async with asyncio.timeout(30):
            await slow.wait_inside(4)
        await slow.release()
        found = await client.read_until(options.topics.responses, covers(40, 0))
    assert numbers(found, 0) == list(range(40))


async def test_doors_come_and_go_and_nothing_is_lost(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """Through rebalances every request is answered, in order, and mostly once."""
    requests, responses = options.topics.requests, options.topics.responses
    served = serving_map(half())
    second = replace(options, node="n2")
    async with AsyncExitStack() as first_door:
        await first_door.enter_async_context(KafkaDoor(connection, served, ready(), options))
        for partition in (0, 1):
            await client.ask(requests, numbered(1000, partition=partition))
        await client.read(responses, 500)
        asked = 1000
        async with KafkaDoor(connection, served, ready(), second):
            nodes: set[bytes] = set()
            while b"n2" not in nodes:
                for partition in (0, 1):
                    await client.ask(requests, numbered(100, partition=partition, start=asked))
                asked += 100
                found = await client.read_until(responses, covers(asked, 0, 1))
                nodes = {headers_of(m)["node"] for m in found}
            await first_door.aclose()
            for partition in (0, 1):
                await client.ask(requests, numbered(1000, partition=partition, start=asked))
            asked += 1000
            found = await client.read_until(responses, covers(asked, 0, 1))
    for partition in (0, 1):
        assert numbers(found, partition) == list(range(asked))
    # Drained and committed before they were let go: partitions that move repeat nothing.
    assert len(found) == 2 * asked


async def test_a_rebalance_that_leaves_a_partition_here_loses_nothing(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """A node that keeps its partitions reads on behind what it answered, record by record."""
    requests, responses = options.topics.requests, options.topics.responses
    other = f"{topic_prefix}other"
    await ensure_topics(connection, [TopicSpec(name=other, partitions=1)])
    served = serving_map(half())
    passer_by = replace(options, node="n2", request_topics=(other,))
    asked = 0
    async with KafkaDoor(connection, served, ready(), options):
        for _ in range(4):
            async with KafkaDoor(connection, served, ready(), passer_by):
                await client.ask(other, [Ask(2.0, headers=[("correlation-id", b"-1")])])
                for _ in range(10):
                    for partition in (0, 1):
                        await client.ask(requests, numbered(50, partition=partition, start=asked))
                    asked += 50
                    await client.read_until(responses, covers(asked, 0, 1), seconds=1)
        found = await client.read_until(responses, covers(asked + 1, 0), seconds=10)
        found = await client.read_until(responses, covers(asked, 1), seconds=10)
    for partition in (0, 1):
        assert [n for n in numbers(found, partition) if n >= 0] == list(range(asked))


async def test_a_request_in_flight_moves_with_its_partition(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """A model that is stuck does not keep a partition from its next owner for ever."""
    stuck, fine = half(), half()
    stuck.hold()
    requests, responses = options.topics.requests, options.topics.responses
    impatient = replace(options, drain_timeout_seconds=0.5)
    async with KafkaDoor(connection, serving_map(stuck), ready(), impatient):
        for partition in (0, 1):
            await client.ask(requests, numbered(5, partition=partition))
        async with asyncio.timeout(30):
            await stuck.wait_inside(10)
        async with KafkaDoor(connection, serving_map(fine), ready(), replace(options, node="n2")):
            found = await client.read(responses, 5)
            assert {headers_of(m)["node"] for m in found} == {b"n2"}
            await stuck.release()
            found = await client.read_until(responses, covers(5, 0, 1))
    assert [numbers(found, p) for p in (0, 1)] == [list(range(5))] * 2


@pytest.mark.timeout(240)
async def test_goes_on_after_the_broker_was_killed(tmp_path: Path) -> None:
    """Requests from before, during and after an outage are all answered, in order."""
    topics = Topics()
    async with EmbeddedBroker(data_dir=tmp_path) as broker:
        port = int(broker.bootstrap_servers.rpartition(":")[2])
        connection = KafkaConnection(broker.bootstrap_servers, connect_timeout_seconds=3)
        await ensure_topics(connection, specs(topics, request_partitions=2))
        servable = half()
        options = StreamOptions(node="n1", group="g", topics=topics)
        async with KafkaDoor(connection, serving_map(servable), ready(), options):
            async with correspondent(connection) as client:
                await client.ask(topics.requests, numbered(200))
                await client.read(topics.responses, 100)
                servable.hold()
                await client.ask(topics.requests, numbered(200, start=200))
                async with asyncio.timeout(30):
                    await servable.wait_inside(200)
            os.kill(broker.pid, signal.SIGKILL)
            await broker.stop()
            await servable.release()
            async with (
                EmbeddedBroker(port=port, data_dir=tmp_path),
                correspondent(connection) as client,
            ):
                await client.ask(topics.requests, numbered(200, start=400))
                found = await client.read_until(topics.responses, covers(600, 0), seconds=90)
    assert numbers(found, 0) == list(range(600))


async def test_a_reply_topic_that_refuses_does_not_stop_the_partition(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """What a reply topic will never take becomes a dead letter, and the rest is answered."""
    compacted = f"{topic_prefix}compacted"
    spec = TopicSpec(name=compacted, partitions=1, configs={"cleanup.policy": "compact"})
    await ensure_topics(connection, [spec])
    reply = ("reply-topic", compacted.encode())
    async with KafkaDoor(connection, serving_map(half()), ready(), options):
        await client.ask(
            options.topics.requests, [Ask(2.0, headers=[reply]), Ask(4.0, key=b"k"), Ask(6.0)]
        )
        found = await client.read(options.topics.responses, 2)
        letters = await client.read(options.topics.dead_letters, 1)
    assert {answered(m) for m in found} == {4.0, 5.0}
    assert "refused the answer" in headers_of(letters[0])["reason"].decode()
    assert letters[0].value == Ask(2.0).payload()


async def test_requests_from_all_topics_of_a_pattern(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent, topic_prefix: str
) -> None:
    """A topic per model is found by its name, also when it is made later."""
    names = [f"{topic_prefix}models.a", f"{topic_prefix}models.b"]
    await ensure_topics(connection, [TopicSpec(name=names[0], partitions=1)])
    pattern = f"^{topic_prefix}models\\..*"
    told = replace(options, request_pattern=pattern)
    async with KafkaDoor(connection, serving_map(half()), ready(), told):
        await client.ask(names[0], [Ask(2.0)])
        await client.read(options.topics.responses, 1)
        await ensure_topics(connection, [TopicSpec(name=names[1], partitions=1)])
        await client.ask(names[1], [Ask(4.0)])
        found = await client.read(options.topics.responses, 2)
    assert [answered(m) for m in found] == [3.0, 4.0]


async def test_an_error_that_is_not_kafkas_ends_the_door(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """A mistake of ours is loud: the block around the door is left with the error."""
    broken: FakeServable = half()
    broken.raise_all(ZeroDivisionError("a mistake"))
    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - leaving the block is tested
        async with KafkaDoor(connection, serving_map(broken), ready(), options):
            await client.ask(options.topics.requests, [Ask(1.0)])
            await asyncio.sleep(30)
    assert raised.group_contains(ZeroDivisionError)
    assert not await client.read(options.topics.responses, 1, seconds=0.5)
