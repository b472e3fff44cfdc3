"""Whoever publishes can ask for an answer of it at once, at every door of a real node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace.publisher import ConfigChange, KafkaConnection
from tests.e2e.doors import DOORS, KAFKA, SYNCHRONOUS, Doors, Question, Told, doors
from tests.e2e.rig import Site, deployment
from tests.models import model

ROUNDS = 6

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


async def everywhere(clients: Doors, question: Question) -> dict[str, Told]:
    """Ask by every door, the synchronous ones at once, and the Kafka ones after each other."""

    async def by_kafka() -> list[Told]:
        return [await clients.ask(door, question) for door in KAFKA]

    told, streamed = await asyncio.gather(
        asyncio.gather(*(clients.ask(door, question) for door in SYNCHRONOUS)), by_kafka()
    )
    return dict(zip(DOORS, [*told, *streamed], strict=True))


async def test_an_answer_as_of_a_publish_is_never_older(site: Site) -> None:
    """Published without waiting, and asked in the same moment: the very version answers."""
    async with deployment(site) as (node, publisher), doors(site, node) as clients:
        for number in range(1, ROUNDS + 1):
            kind = "half_plus_two" if number % 2 else "half_plus_two_tf1"
            published = await publisher.publish("m", number, model(kind))
            question = Question("m", min_offset=published.control_offset)
            for door, told in (await everywhere(clients, question)).items():
                assert told.version == number, door
                assert told.origin["control-offset"] == str(published.control_offset), door
                assert int(told.origin["plan-offset"]) >= published.control_offset, door


async def test_every_event_can_be_waited_for(site: Site) -> None:
    """A moved label, a retirement, and a record that nobody can read: each counts by its offset."""
    async with deployment(site) as (node, publisher), doors(site, node) as clients:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        await publisher.configure(ConfigChange(model="m", labels={"stable": 1}))
        await publisher.publish("m", 2, model("half_plus_two_tf1"))
        moved = await publisher.configure(ConfigChange(model="m", labels={"stable": 2}))
        question = Question("m", label="stable", min_offset=moved.control_offset)
        for door, told in (await everywhere(clients, question)).items():
            assert (told.version, told.origin["routed-by"]) == (2, "label"), door
        unreadable = await site.write_control((b"model/m", b"no record at all"))
        question = Question("m", min_offset=unreadable)
        for door, told in (await everywhere(clients, question)).items():
            assert told.version == 2, door
            assert int(told.origin["plan-offset"]) >= unreadable, door
        retired = await publisher.retire("m", 2, force=True)  # The label still names it.
        question = Question("m", version=2, min_offset=retired.control_offset)
        for door, told in (await everywhere(clients, question)).items():
            assert told.code == "NOT_FOUND", door


async def test_a_version_that_fails_to_load_is_not_stood_in_for(site: Site) -> None:
    """Who asks as of its publish hears why in time; everybody else has the old version."""
    async with deployment(site) as (node, publisher), doors(site, node) as clients:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        broken = await publisher.publish("m", 2, model("wrongly_warmed"))
        await node.event("version.ended", model="m", version=2)
        question = Question("m", min_offset=broken.control_offset, seconds=4)
        refused, served = await everywhere(clients, question), Question("m")
        for door, told in refused.items():
            assert told.code == "UNAVAILABLE", door
            assert f"wants control offset {broken.control_offset} or later" in told.words, door
            assert "m version 2 does not serve on this node" in told.words, door
        for door, told in (await everywhere(clients, served)).items():
            assert told.version == 1, door
