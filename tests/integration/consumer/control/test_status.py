"""The status topic as the fleet reads it: ordered, small, and true after outages and restarts."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.cli.broker import EmbeddedBroker
from headrace.consumer.control.status import NodeIdentity, StatusPublisher
from headrace.consumer.core.errors import NodeError
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import Fleet
from headrace.publisher.tail import tail
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import decode, encode
from headrace.schemas.errors import WireError
from headrace.schemas.records import NodeStatus, ServableState, ServableStatus
from headrace.schemas.topics import Topics, specs

Put = Callable[[str, Sequence[tuple[bytes | None, bytes | None]]], Awaitable[int]]
START, LOADING, AVAILABLE, UNLOADING, END = ServableState
NODE = NodeIdentity(node="n1", incarnation=7, grpc_endpoint="h:1", http_endpoint="h:2")


def status(
    state: ServableState, offset: int, *, version: int = 1, error: str | None = None
) -> ServableStatus:
    return ServableStatus(
        model="ranker", version=version, state=state, control_offset=offset, error=error
    )


async def records(connection: KafkaConnection, topic: str) -> list[tuple[bytes, NodeStatus | None]]:
    """Return the whole status topic."""
    async with tail(connection, topic) as reader:
        return [(message.key or b"", read(message.value)) async for message in reader.to_end()]


def read(value: bytes | None) -> NodeStatus | None:
    try:
        return None if value is None else decode(value, NodeStatus)
    except WireError:
        return None


async def fleet(connection: KafkaConnection, topic: str) -> Fleet:
    folded = Fleet()
    for key, value in await records(connection, topic):
        folded.apply(key, value, 0)
    return folded


def told(found: list[tuple[bytes, NodeStatus | None]]) -> list[str]:
    """Describe records briefly: what was said, in order."""
    words: list[str] = []
    for key, value in found:
        if value is None:
            words.append(f"{key.decode()} -")
        elif value.servable is None:
            words.append(f"{key.decode()} @{value.control_offset} ready={value.is_ready}")
        else:
            words.append(f"{key.decode()} {value.servable.state.value}")
    return words


async def test_a_status_precedes_the_heartbeat_that_carries_its_offset(
    connection: KafkaConnection, topics: Topics
) -> None:
    """Who waits for an offset knows, at that heartbeat, what the node made of the event."""
    publisher = StatusPublisher(connection, topics.status, NODE, heartbeat_interval_seconds=60)
    async with publisher:
        publisher.publish(status(START, 5))
        publisher.publish(status(LOADING, 5))
        publisher.heartbeat(5, is_ready=False)
        publisher.publish(status(AVAILABLE, 5))
        publisher.heartbeat(5, is_ready=True)
        publisher.heartbeat(5, is_ready=True)
    assert told(await records(connection, topics.status)) == [
        "n1 @-1 ready=False",
        "n1/ranker/1 START",
        "n1/ranker/1 LOADING",
        "n1 @5 ready=False",
        "n1/ranker/1 AVAILABLE",
        "n1 @5 ready=True",
        "n1 -",
    ]


async def test_a_version_that_ended_well_leaves_nothing(
    connection: KafkaConnection, topics: Topics
) -> None:
    """END is told and its key forgotten; END with an error stays to be read."""
    async with StatusPublisher(connection, topics.status, NODE) as publisher:
        publisher.publish(status(END, 1))
        publisher.publish(status(END, 2, version=2, error="disk on fire"))
        publisher.heartbeat(2, is_ready=True)
        await until_said(connection, topics.status, "n1 @2 ready=True")
        seen = (await fleet(connection, topics.status)).nodes["n1"]
        assert seen.servable("ranker", 1) is None
        failed = seen.servable("ranker", 2)
        assert failed is not None
        assert failed.error == "disk on fire"


async def until_said(connection: KafkaConnection, topic: str, words: str) -> None:
    async with asyncio.timeout(20):
        while words not in told(await records(connection, topic)):
            await asyncio.sleep(0.02)


async def test_a_clean_stop_takes_the_node_out_of_the_fleet(
    connection: KafkaConnection, topics: Topics
) -> None:
    """After its heartbeat's tombstone nobody waits for the node."""
    async with StatusPublisher(connection, topics.status, NODE) as publisher:
        publisher.publish(status(AVAILABLE, 1))
        await until_said(connection, topics.status, "n1/ranker/1 AVAILABLE")
        assert "n1" in (await fleet(connection, topics.status)).nodes
    assert not (await fleet(connection, topics.status)).nodes


async def test_heartbeats_go_on_by_themselves(connection: KafkaConnection, topics: Topics) -> None:
    """A node that has no news is alive all the same."""
    identity = NODE
    async with (
        StatusPublisher(connection, topics.status, identity, heartbeat_interval_seconds=0.05),
        asyncio.timeout(20),
    ):
        while len(await records(connection, topics.status)) < 4:
            await asyncio.sleep(0.02)
    beats = [value for _, value in await records(connection, topics.status) if value]
    assert {beat.heartbeat_interval_ms for beat in beats} == {50}
    assert {(beat.grpc_endpoint, beat.http_endpoint) for beat in beats} == {("h:1", "h:2")}


async def test_control_errors_and_endpoints_travel_with_the_heartbeat(
    connection: KafkaConnection, topics: Topics
) -> None:
    """The last few errors are told, bounded, whatever characters are in them."""
    async with StatusPublisher(connection, topics.status, NODE) as publisher:
        publisher.serve_at(grpc_endpoint="h:8500", http_endpoint="h:8501")
        errors = [f"bad {number}" for number in range(50)] + ["x" * 10_000, "\ud800"]
        publisher.heartbeat(3, is_ready=True, control_errors=errors)
        await until_said(connection, topics.status, "n1 @3 ready=True")
    beat = [value for _, value in await records(connection, topics.status) if value][-1]
    assert beat.grpc_endpoint == "h:8500"
    assert len(beat.control_errors) == 10
    assert beat.control_errors[0] == "bad 42"
    assert len(beat.control_errors[-2]) < 3000
    assert beat.control_errors[-1] == "?"


async def test_forgets_what_an_earlier_incarnation_left(
    connection: KafkaConnection, topics: Topics, put: Put
) -> None:
    """A node that was killed takes back its old statuses when it starts, and no one else's."""

    def record(node: str, incarnation: int) -> bytes:
        return encode(
            NodeStatus(
                node=node,
                incarnation=incarnation,
                at_ms=0,
                control_offset=1,
                servable=status(AVAILABLE, 1),
            )
        )

    await put(
        topics.status,
        [
            (b"n1/ranker/1", record("n1", 6)),
            (b"n1/ranker/2", b"unreadable"),
            (b"n1/ranker/3", record("n1", 6)),
            (b"n1/ranker/3", None),
            (b"n1/ranker/4", record("n1", 8)),
            (b"n10/ranker/1", record("n10", 6)),
            (b"n1", record("n1", 6)),
        ],
    )
    with capture_logs() as logs:
        async with StatusPublisher(connection, topics.status, NODE) as publisher:
            publisher.publish(status(AVAILABLE, 1))
            await until_said(connection, topics.status, "n1/ranker/1 AVAILABLE")
    assert told((await records(connection, topics.status))[7:]) == [
        "n1/ranker/1 -",
        "n1/ranker/2 -",
        "n1 -",
        "n1 @-1 ready=False",
        "n1/ranker/1 AVAILABLE",
        "n1 -",
    ]
    assert [entry["event"] for entry in logs] == ["node_id.duplicated"]


@pytest.mark.timeout(180)
async def test_an_outage_loses_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    """While Kafka is away the node goes on; afterwards the latest of each version is there."""
    async with EmbeddedBroker(data_dir=tmp_path) as broker:
        connection = KafkaConnection(broker.bootstrap_servers, connect_timeout_seconds=2)
        port = int(broker.bootstrap_servers.rpartition(":")[2])
        await ensure_topics(connection, specs(Topics()))
        async with StatusPublisher(connection, Topics().status, NODE) as publisher:
            publisher.publish(status(LOADING, 1))
            await until_said(connection, Topics().status, "n1/ranker/1 LOADING")
            os.kill(broker.pid, signal.SIGKILL)
            await broker.stop()
            for offset in range(2000):
                publisher.publish(status(AVAILABLE, offset))
                publisher.publish(status(LOADING, offset, version=2))
                publisher.heartbeat(offset, is_ready=True)
            async with EmbeddedBroker(port=port, data_dir=tmp_path):
                await until_said(connection, Topics().status, "n1 @1999 ready=True")
                found = await records(connection, Topics().status)
                node = (await fleet(connection, Topics().status)).nodes["n1"]
    assert len(found) < 3000
    first, second = node.servable("ranker", 1), node.servable("ranker", 2)
    assert first is not None
    assert second is not None
    assert (first.control_offset, second.control_offset) == (1999, 1999)
    position = told(found).index("n1 @1999 ready=True")
    assert not [v for _, v in found[position:] if v and v.servable]


async def test_a_node_without_kafka_starts_and_stops() -> None:
    """Entering and leaving need no broker."""
    connection = KafkaConnection("localhost:9", connect_timeout_seconds=0.2)
    async with StatusPublisher(connection, "status", NODE) as publisher:
        publisher.publish(status(AVAILABLE, 1))


@pytest.mark.parametrize("node", ["", "a/b"])
def test_refuses_a_node_id_that_blurs_the_keys(node: str) -> None:
    """The key of a status must say whose it is."""
    with pytest.raises(NodeError, match="is not allowed"):
        NodeIdentity(node=node, incarnation=1)
