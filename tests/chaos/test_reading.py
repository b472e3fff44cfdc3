"""The reader sees what a read_committed consumer may see, up to the very end of a log."""

from __future__ import annotations

from typing import Protocol, cast

from headrace.publisher import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import TopicSpec
from tests.chaos.reading import read_topic


class Transactional(Protocol):
    """What of aiokafka's producer a transaction takes."""

    async def begin_transaction(self) -> None:
        """Begin one."""

    async def commit_transaction(self) -> None:
        """Let readers see it."""

    async def abort_transaction(self) -> None:
        """Let nobody see it."""


async def test_reads_past_markers_and_leaves_out_what_was_aborted(
    bootstrap_servers: str, unique_name: str
) -> None:
    """A log that ends with the marker of an aborted transaction has an end all the same."""
    connection = KafkaConnection(bootstrap_servers)
    await ensure_topics(connection, [TopicSpec(name=unique_name, partitions=2)])
    async with connection.producer(transactional_id=unique_name) as producer:
        transactions = cast("Transactional", producer)
        for number in range(6):
            await transactions.begin_transaction()
            await (await producer.send(unique_name, value=b"%d" % number, partition=number % 2))
            if number % 3 == 2:
                await transactions.abort_transaction()
            else:
                await transactions.commit_transaction()
    messages = await read_topic(connection, unique_name, 2, timeout=20)
    assert sorted(message.value or b"" for message in messages) == [b"0", b"1", b"3", b"4"]
