"""Clients opened and closed in bounded time, on a real broker and where there is none."""

import asyncio

import pytest

from headrace.publisher import BrokerUnreachable, KafkaConnection
from headrace.publisher.connection import reachable
from headrace.publisher.tail import tail
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs


async def test_clients_may_be_closed_at_once(connection: KafkaConnection) -> None:
    """Whoever stops a client must not get the cancellation of a task that never began."""
    async with connection.consumer():
        pass
    async with connection.producer():
        pass
    async with connection.admin():
        pass


async def test_tells_whether_a_broker_is_there(connection: KafkaConnection) -> None:
    """One answers; on port 1 nobody does."""
    await reachable(connection)
    with pytest.raises(BrokerUnreachable, match=r"localhost:1 within 0\.3 s.*headrace broker"):
        await reachable(KafkaConnection("localhost:1", 0.3))


async def test_reads_to_the_end_and_on(connection: KafkaConnection, topics: Topics) -> None:
    """First what is there, then what arrives; an empty topic ends at once."""
    await ensure_topics(connection, specs(topics))
    async with tail(connection, topics.control) as reader, connection.producer() as producer:
        assert [message async for message in reader.to_end()] == []
        sent = [
            await producer.send(topics.control, key=b"%d" % n, value=b"", partition=0)
            for n in range(100)
        ]
        await asyncio.gather(*sent)
        assert [m.offset async for m in reader.to_end()] == list(range(100))
        await (await producer.send(topics.control, key=b"last", value=b"", partition=0))
        arrived = await reader.poll(10.0)
        assert [message.key for message in arrived] == [b"last"]
