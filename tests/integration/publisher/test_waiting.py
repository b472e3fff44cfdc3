"""Waiting for the fleet, against nodes that write what real nodes write."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headrace.publisher import (
    KafkaConnection,
    ModelPublisher,
    NotWanted,
    Published,
    RefusedByNode,
    Retired,
    WaitTimeout,
)
from headrace.publisher.fleet import Fleet, heartbeat_key, read_fleet, status_key, status_reader
from headrace.publisher.progress import Appended, NodeReported, Progress
from headrace.publisher.settling import Wait
from headrace.schemas.records import ServableState
from headrace.schemas.topics import Topics
from tests.fakes.saved_models import write_saved_model
from tests.fakes.scripted_node import ScriptedNode

S = ServableState
Nodes = tuple[ScriptedNode, ScriptedNode]
Script = Callable[[int], Awaitable[None]]


class Appending:
    """Collects progress, and tells when the event is in the log."""

    def __init__(self) -> None:
        self.reports: list[Progress] = []
        self.offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def __call__(self, progress: Progress) -> None:
        """Take a report."""
        self.reports.append(progress)
        if isinstance(progress, Appended):
            self.offset.set_result(progress.control_offset)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "model")


async def publish(
    publisher: ModelPublisher,
    model: Path,
    wait: Wait,
    script: Script,
    *,
    on_progress: Appending | None = None,
    timeout: float = 30.0,
) -> Published:
    """Publish version 3 of ranker and run the script once the event is in the log."""
    appending = on_progress or Appending()

    async def nodes_follow() -> None:
        await script(await appending.offset)

    published, _ = await asyncio.gather(
        publisher.publish("ranker", 3, model, wait=wait, timeout=timeout, on_progress=appending),
        nodes_follow(),
    )
    return published


async def test_returns_when_every_live_node_serves(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """Both nodes load and say so; the attempt that failed on the way is reported."""
    a, b = nodes
    await a.beat(-1)
    await b.beat(-1)
    appending = Appending()

    async def script(offset: int) -> None:
        for node in nodes:
            await node.report(3, S.START, offset)
        await a.report(3, S.AVAILABLE, offset)
        await b.report(3, S.LOADING, offset, attempt=2, error="out of memory")
        await b.report(3, S.AVAILABLE, offset, attempt=2)
        await b.beat(offset)

    published = await publish(publisher, model, "fleet", script, on_progress=appending)
    assert published.served_by == ("node-a", "node-b")
    retrying = NodeReported(node="node-b", state=S.LOADING, attempt=2, error="out of memory")
    assert retrying in appending.reports


async def test_any_returns_with_the_first_node(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """One node is enough, though another one has not even seen the event."""
    a, b = nodes
    await a.beat(-1)
    await b.beat(-1)

    async def script(offset: int) -> None:
        await a.report(3, S.AVAILABLE, offset)

    assert (await publish(publisher, model, "any", script)).served_by == ("node-a",)


async def test_tells_why_a_node_refused(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """In the node's own words; the event stays in the log."""
    a, b = nodes
    await a.beat(-1)
    await b.beat(-1)

    async def script(offset: int) -> None:
        await a.report(3, S.AVAILABLE, offset)
        await b.report(3, S.END, offset, error="Op type not registered 'Foo'")

    with pytest.raises(RefusedByNode, match=r"node-b could not load .*'Foo'") as refused:
        await publish(publisher, model, "fleet", script)
    assert (refused.value.node, refused.value.reason) == ("node-b", "Op type not registered 'Foo'")


async def test_tells_that_the_policy_does_not_want_the_version(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """A newer version is published; the older number is applied and not loaded."""
    node = nodes[0]
    newer = await publisher.publish("ranker", 9, model)
    await node.report(9, S.AVAILABLE, newer.control_offset)
    await node.beat(newer.control_offset)

    with pytest.raises(NotWanted, match=r"node-a .*latest:1, highest other version: 9"):
        await publish(publisher, model, "any", node.beat)


async def test_a_timeout_names_what_is_missing(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """Which node has not settled, and what it last said."""
    a, b = nodes
    await a.beat(-1)
    await b.beat(-1)

    async def script(offset: int) -> None:
        await a.report(3, S.LOADING, offset, attempt=2, error="no space left")

    words = (
        r"node-a: LOADING \(attempt 2, last error: no space left\); node node-b: has not applied"
    )
    with pytest.raises(WaitTimeout, match=words):
        await publish(publisher, model, "fleet", script, timeout=1.0)


async def test_a_timeout_without_nodes_says_so(publisher: ModelPublisher, model: Path) -> None:
    """Nobody is there: the event waits in the log."""
    with pytest.raises(WaitTimeout, match=r"no live node .*headrace serve.*at offset 0"):
        await publisher.publish("ranker", 1, model, wait="fleet", timeout=0.5)


async def test_a_node_that_starts_late_is_waited_for(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """The first node of the fleet may come up after the event."""

    async def script(offset: int) -> None:
        await nodes[0].report(3, S.AVAILABLE, offset)
        await nodes[0].beat(offset)

    assert (await publish(publisher, model, "fleet", script)).served_by == ("node-a",)


async def test_publishing_again_is_served_by_who_serves_it_already(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """The same bytes change nothing on the node but its offset."""
    first = await publisher.publish("ranker", 3, model)
    await nodes[0].report(3, S.AVAILABLE, first.control_offset)
    await nodes[0].beat(first.control_offset)
    assert (await publish(publisher, model, "fleet", nodes[0].beat)).served_by == ("node-a",)


async def test_retiring_waits_until_nobody_holds_the_version(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """One node unloads it, another never had it."""
    a, b = nodes
    first = await publisher.publish("ranker", 3, model)
    await a.report(3, S.AVAILABLE, first.control_offset)
    await a.beat(first.control_offset)
    await b.beat(first.control_offset)
    appending = Appending()

    async def nodes_follow() -> None:
        offset = await appending.offset
        await a.report(3, S.UNLOADING, first.control_offset)
        await a.beat(offset)
        await b.beat(offset)
        await a.report(3, S.END, first.control_offset)

    retired, _ = await asyncio.gather(
        publisher.retire("ranker", 3, wait="fleet", on_progress=appending), nodes_follow()
    )
    assert isinstance(retired, Retired)
    assert retired.released_by == ("node-a", "node-b")


async def test_retiring_names_who_still_holds_the_version(
    publisher: ModelPublisher, model: Path, nodes: Nodes
) -> None:
    """A node that does not let go is named."""
    first = await publisher.publish("ranker", 3, model)
    await nodes[0].report(3, S.UNLOADING, first.control_offset)
    await nodes[0].beat(first.control_offset + 1)
    with pytest.raises(WaitTimeout, match="node-a: UNLOADING"):
        await publisher.retire("ranker", 3, wait="fleet", timeout=0.5)


async def test_the_fleet_is_read_and_followed(
    connection: KafkaConnection, topics: Topics, nodes: Nodes
) -> None:
    """A snapshot shows what was said; a reader goes on from there; garbage is passed over."""
    node = nodes[0]
    await node.beat(4)
    await node.report(3, S.AVAILABLE, 2)
    async with connection.producer() as producer:
        for value in (b"garbage", None):
            sent = await producer.send(
                topics.status, key=status_key("node-x", "m", 1), value=value, partition=0
            )
            await sent
        fleet = await read_fleet(connection, topics)
        status = fleet.nodes["node-a"].servable("ranker", 3)
        assert status is not None
        assert status.state is S.AVAILABLE

        async with status_reader(connection, topics) as reader:
            assert reader.fleet.nodes["node-a"].control_offset == 4
            await node.beat(5)

            def has_moved(followed: Fleet) -> bool | None:
                return followed.nodes["node-a"].control_offset == 5 or None

            assert await reader.wait_for(has_moved, 10.0)
            await (
                await producer.send(
                    topics.status, key=heartbeat_key("node-a"), value=None, partition=0
                )
            )
            assert await reader.wait_for(lambda seen: not seen.nodes or None, 10.0)
