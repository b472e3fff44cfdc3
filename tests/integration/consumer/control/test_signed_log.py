"""The control log with trusted keys, against a real Kafka."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.cli.broker import EmbeddedBroker
from headrace.consumer.control.log import ControlBatch, ControlLog
from headrace.publisher.clients import Message
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.control_log import ControlLog as Writer
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.signing import SigningKey
from headrace.publisher.tail import tail
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.records import ModelConfig, config_key
from headrace.schemas.topics import Topics, specs
from tests.fakes.signed_records import trusting

OURS = SigningKey.generate()
SECURITY = EventSecurity(signing_key=OURS, trusted_keys=trusting((OURS, "*")))
KEY = config_key("ranker")


async def write(connection: KafkaConnection, topics: Topics, *replicas: int) -> None:
    """Append signed configurations."""
    log = Writer(connection, topics, create_topics=True, security=SECURITY)
    await log.read()
    for number in replicas:
        await log.append(KEY, ModelConfig(model="ranker", replicas=number), 20)


def replicas_of(batches: list[ControlBatch]) -> list[int]:
    """Return what the events say, in order."""
    records = [event.record for batch in batches for event in batch.events]
    return [record.replicas for record in records if isinstance(record, ModelConfig)]


async def test_skips_what_is_not_signed_and_says_so(
    connection: KafkaConnection, topics: Topics
) -> None:
    """The words go to the status topic, the reason to the log; the offset counts all the same."""
    await write(connection, topics, 2)
    async with connection.producer() as producer:
        value = encode(ModelConfig(model="ranker", replicas=9))
        await (await producer.send(topics.control, key=KEY, value=value, partition=0))
    await write(connection, topics, 3)
    batches: list[ControlBatch] = []
    with capture_logs() as logs:
        log = ControlLog(connection, topics.control, security=SECURITY)
        async with asyncio.timeout(30), aclosing(log.batches()) as followed:
            async for batch in followed:
                batches.append(batch)
                if batch.offset == 2:
                    break
    assert replicas_of(batches) == [2, 3]
    (words,) = [words for batch in batches for words in batch.unreadable]
    assert words.startswith("control record at offset 1: refused: 'model/ranker' is not signed")
    (refused,) = [entry for entry in logs if entry["event"] == "control_record.refused"]
    assert (refused["offset"], refused["reason"]) == (1, "unsigned")


@pytest.mark.timeout(180)
async def test_a_log_that_was_made_anew_is_not_taken_for_a_replay(tmp_path: Path) -> None:
    """When an operator puts the same records into a new topic, they count again."""
    topics = Topics()
    batches: list[ControlBatch] = []
    grown = asyncio.Condition()

    async def follow(log: ControlLog) -> None:
        async with aclosing(log.batches()) as followed:
            async for batch in followed:
                async with grown:
                    batches.append(batch)
                    grown.notify_all()

    async def seen(count: int) -> None:
        async with asyncio.timeout(60), grown:
            await grown.wait_for(lambda: len(replicas_of(batches)) >= count)

    async with EmbeddedBroker(data_dir=tmp_path / "old") as broker:
        servers = broker.bootstrap_servers
        connection = KafkaConnection(servers, connect_timeout_seconds=2)
        await ensure_topics(connection, specs(topics))
        await write(connection, topics, 2, 3, 4)
        async with tail(connection, topics.control) as reader:
            records: list[Message] = [message async for message in reader.to_end()]
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                log = ControlLog(connection, topics.control, security=SECURITY)
                following = tasks.create_task(follow(log))
                await seen(3)
                await broker.stop()
                port = int(servers.rpartition(":")[2])
                async with EmbeddedBroker(port=port, data_dir=tmp_path / "new"):
                    await ensure_topics(connection, specs(topics))
                    async with connection.producer() as producer:
                        for record in records[:2]:
                            sent = await producer.send(
                                topics.control,
                                key=record.key,
                                value=record.value,
                                headers=list(record.headers),
                                partition=0,
                            )
                            await sent
                    await seen(5)
                    following.cancel()
    assert replicas_of(batches) == [2, 3, 4, 2, 3]
    assert any(entry["event"] == "control_log.truncated" for entry in logs)
    assert not any(entry["event"] == "control_record.refused" for entry in logs)
