"""The control log against a real Kafka: everything, in order, once."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.cli.broker import EmbeddedBroker
from headrace.consumer.control.log import ControlBatch, ControlLog
from headrace.consumer.core.errors import NodeError
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.records import ModelConfig, ModelVersion, config_key, version_key
from headrace.schemas.topics import Topics, TopicSpec, specs

Put = Callable[[str, Sequence[tuple[bytes | None, bytes | None]]], Awaitable[int]]


def version(number: int, model: str = "ranker") -> tuple[bytes, bytes]:
    record = ModelVersion(
        model=model, version=number, uri="file:///m", digest="sha256:0", size_bytes=1
    )
    return version_key(model, number), encode(record)


async def logged(logs: list[MutableMapping[str, Any]], event: str) -> None:
    """Return once `event` is among the logs."""
    async with asyncio.timeout(60):
        while not any(entry["event"] == event for entry in logs):
            await asyncio.sleep(0.02)


class Follower:
    """Collects the batches of a log in the background."""

    def __init__(self, log: ControlLog) -> None:
        self.batches: list[ControlBatch] = []
        self._log = log
        self._grown = asyncio.Condition()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with aclosing(self._log.batches()) as batches:
            async for batch in batches:
                async with self._grown:
                    self.batches.append(batch)
                    self._grown.notify_all()

    async def until(self, offset: int, seconds: float = 30) -> None:
        """Return once everything up to `offset` was seen."""
        async with asyncio.timeout(seconds), self._grown:
            await self._grown.wait_for(lambda: self.offset >= offset and self.is_caught_up)

    @property
    def offset(self) -> int:
        """The last offset covered."""
        return self.batches[-1].offset if self.batches else -2

    @property
    def is_caught_up(self) -> bool:
        """What the last batch says."""
        return bool(self.batches) and self.batches[-1].is_caught_up

    @property
    def keys(self) -> list[bytes]:
        """The keys of all events."""
        return [event.key for batch in self.batches for event in batch.events]

    @property
    def unreadable(self) -> list[str]:
        """The words for all unreadable records."""
        return [words for batch in self.batches for words in batch.unreadable]


async def test_replays_to_the_end_it_saw_at_start_then_follows(
    connection: KafkaConnection, topics: Topics, put: Put
) -> None:
    """Only the batch that reaches the end of the log at start is caught up, and then all are."""
    await put(topics.control, [version(number) for number in range(1, 2501)])
    log = Follower(ControlLog(connection, topics.control))
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(log.run())
        await log.until(2499)
        assert [batch.is_caught_up for batch in log.batches] == [
            batch.offset >= 2499 for batch in log.batches
        ]
        assert len(log.batches) > 1
        last = await put(topics.control, [version(2501), (config_key("ranker"), None)])
        await log.until(last)
        following.cancel()
    assert log.keys == [version(n)[0] for n in range(1, 2502)] + [b"model/ranker"]
    assert log.batches[-1].events[-1].record is None
    assert not log.unreadable


async def test_an_empty_log_is_caught_up_at_once(
    connection: KafkaConnection, topics: Topics
) -> None:
    """A node beside an empty log need not wait for anything."""
    async with aclosing(ControlLog(connection, topics.control).batches()) as batches:
        first = await asyncio.wait_for(anext(batches), 20)
    assert first == ControlBatch((), (), -1, is_caught_up=True)


async def test_skips_what_it_cannot_read_and_says_so(
    connection: KafkaConnection, topics: Topics, put: Put
) -> None:
    """Bad records are reported with their offset, and the good ones around them arrive."""
    last = await put(
        topics.control,
        [
            version(1),
            (version(2)[0], b"garbage"),
            (version(3)[0], b""),
            (version(5)[0], version(4)[1]),
            (version(6)[0], b"\xc3\x01" + bytes(8) + b"future"),
            (b"noise", b"\xc3" * 900_000),
            (version(1)[0], None),
            (config_key("ranker"), encode(ModelConfig(model="ranker"))),
        ],
    )
    log = Follower(ControlLog(connection, topics.control))
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(log.run())
        await log.until(last)
        following.cancel()
    assert log.keys == [version(1)[0], version(1)[0], b"model/ranker"]
    assert [words.split(": ")[0] for words in log.unreadable] == [
        f"control record at offset {offset}" for offset in range(1, 6)
    ]


async def test_makes_the_topic_when_it_is_missing(
    connection: KafkaConnection, topic_prefix: str
) -> None:
    """A first node on an empty cluster starts."""
    async with aclosing(ControlLog(connection, f"{topic_prefix}new").batches()) as batches:
        first = await asyncio.wait_for(anext(batches), 20)
    assert first.is_caught_up


async def test_waits_for_a_missing_topic_that_it_may_not_make(
    connection: KafkaConnection, topic_prefix: str
) -> None:
    """Without the right to create topics the node says which one it waits for."""
    topic = f"{topic_prefix}later"
    log = Follower(ControlLog(connection, topic, creates=()))
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(log.run())
            await logged(logs, "control_topic.missed")
            wanted = [s for s in specs(Topics(control=topic)) if s.name == topic]
            await ensure_topics(connection, wanted)
            await log.until(-1)
            following.cancel()
    assert logs[0]["topic"] == topic


@pytest.mark.parametrize("creates_topic", [True, False])
async def test_refuses_a_topic_with_several_partitions(
    connection: KafkaConnection, topic_prefix: str, *, creates_topic: bool
) -> None:
    """A control topic without one order is an error that ends the node."""
    topic = f"{topic_prefix}wide"
    await ensure_topics(connection, [TopicSpec(name=topic, partitions=3)])
    log = ControlLog(connection, topic, creates=None if creates_topic else ())
    with pytest.raises(NodeError, match="3 partitions and must have exactly"):
        async with aclosing(log.batches()) as batches:
            await asyncio.wait_for(anext(batches), 20)


@pytest.mark.timeout(180)
async def test_goes_on_where_it_was_after_the_broker_was_killed(tmp_path: Path) -> None:
    """Nothing is skipped or told twice when Kafka dies and comes back; the outage is logged."""
    async with EmbeddedBroker(data_dir=tmp_path) as broker:
        servers = broker.bootstrap_servers
        connection = KafkaConnection(servers, connect_timeout_seconds=2)
        await ensure_topics(connection, specs(Topics()))
        async with connection.producer() as producer:
            for number in (1, 2):
                key, value = version(number)
                await (await producer.send(Topics().control, key=key, value=value))
        log = Follower(ControlLog(connection, Topics().control))
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(log.run())
                await log.until(1)
                os.kill(broker.pid, signal.SIGKILL)
                await broker.stop()
                await logged(logs, "kafka.unreachable")
                port = int(servers.rpartition(":")[2])
                async with EmbeddedBroker(port=port, data_dir=tmp_path):
                    async with connection.producer() as producer:
                        for number in (3, 4):
                            key, value = version(number)
                            await (await producer.send(Topics().control, key=key, value=value))
                    await log.until(3, 60)
                    following.cancel()
    assert log.keys == [version(number)[0] for number in (1, 2, 3, 4)]
    assert any(entry["event"] == "kafka.reached" for entry in logs)


async def test_waits_for_a_broker_that_is_not_there_yet(topic_prefix: str) -> None:
    """A node that starts before Kafka says so, and does not give up."""
    connection = KafkaConnection("localhost:9", connect_timeout_seconds=0.3)
    log = Follower(ControlLog(connection, f"{topic_prefix}control"))
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(log.run())
            await logged(logs, "kafka.unreachable")
            assert not following.done()
            following.cancel()
