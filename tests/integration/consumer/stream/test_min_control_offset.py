"""Records that ask as of a control record, on a real broker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from headrace.consumer.stream import KafkaDoor, StreamOptions
from headrace.publisher.connection import KafkaConnection
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
from tests.fakes.planned import plan


def at(offset: int, seconds: float = 60) -> list[tuple[str, bytes]]:
    """Return headers that ask for a control record, with so many seconds left."""
    deadline = b"%d" % int((time.time() + seconds) * 1000)
    return [("min-control-offset", b"%d" % offset), ("deadline-ms", deadline)]


async def test_what_stands_before_is_answered_and_what_stands_behind_keeps_its_order(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """The record waits, with its partition behind it, and no other partition."""
    served = serving_map()
    plan(served, 41, half(1))
    topics = options.topics
    async with KafkaDoor(connection, served, ready(), options):
        asks = [Ask(2.0), Ask(4.0), Ask(6.0, headers=at(42)), Ask(8.0), Ask(1.0, partition=1)]
        await client.ask(topics.requests, asks)
        found = await client.read(topics.responses, 3)
        assert sorted(map(answered, found)) == [2.5, 3.0, 4.0]
        async with asyncio.timeout(30):
            while await client.committed(options.group, topics.requests) != 2:
                await asyncio.sleep(0.05)
        plan(served, 42, half(2))
        found = await client.read(topics.responses, 5)
    first = [message for message in found if message.partition == 0]
    assert [answered(message) for message in first] == [3.0, 4.0, 5.0, 6.0]
    versions = [headers_of(message)["version"] for message in first]
    assert versions[:3] == [b"1", b"1", b"2"]
    assert headers_of(first[2])["plan-offset"] == b"42"


async def test_gives_up_at_each_records_own_deadline(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """One that is over is answered though the next one may wait longer."""
    served = serving_map()
    plan(served, 41, half(1))
    async with KafkaDoor(connection, served, ready(), options):
        await client.ask(options.topics.requests, [Ask(6.0)])
        await client.read(options.topics.responses, 1)
        asks = [Ask(headers=at(42, 2)), Ask(2.0, headers=at(42)), Ask(4.0)]
        await client.ask(options.topics.requests, asks)
        _, refused = await client.read(options.topics.responses, 2)
        assert answered(refused) == "UNAVAILABLE"
        assert "wants control offset 42 or later" in error_of(refused)
        plan(served, 42, half(2))
        found = await client.read(options.topics.responses, 4)
    assert [answered(message) for message in found[2:]] == [3.0, 4.0]


async def test_a_partition_that_goes_waits_for_nothing(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """What still waits is left to the next door, and what was answered before it is committed."""
    old, new = serving_map(), serving_map()
    plan(old, 41, half(1))
    plan(new, 42, half(2))
    requests = options.topics.requests
    patient = replace(options, drain_timeout_seconds=600)
    async with asyncio.timeout(60), KafkaDoor(connection, old, ready(), patient):
        await client.ask(requests, [Ask(2.0), Ask(4.0, headers=at(42, 600)), Ask(6.0)])
        await client.read(options.topics.responses, 1)
    assert await client.committed(options.group, requests) == 1
    async with KafkaDoor(connection, new, ready(), options):
        found = await client.read(options.topics.responses, 3)
    assert [answered(message) for message in found] == [3.0, 4.0, 5.0]
    assert [headers_of(message)["version"] for message in found] == [b"1", b"2", b"2"]


async def test_thousands_of_records_ask_for_what_is_in_force(
    connection: KafkaConnection, options: StreamOptions, client: Correspondent
) -> None:
    """They are asked together, with those that ask for nothing, and keep their order."""
    served, servable = serving_map(), half(1)
    plan(served, 41, servable)
    asks = [Ask(float(n), headers=at(41) if n % 2 else ()) for n in range(2000)]
    async with KafkaDoor(connection, served, ready(), options):
        await client.ask(options.topics.requests, asks)
        found = await client.read(options.topics.responses, 2000)
    assert [answered(message) for message in found] == [n / 2 + 2 for n in range(2000)]
    assert len(servable.sizes) < 1000
