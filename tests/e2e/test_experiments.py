"""Aliases and splits on real nodes: one cohort at every door, and what answers say of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from headrace.publisher import KafkaConnection, ModelPublisher
from headrace.schemas.codec import encode
from headrace.schemas.records import ModelConfig, config_key
from tests.e2e.doors import DOORS, SYNCHRONOUS, Doors, Question, doors
from tests.e2e.rig import Site, deployment
from tests.models import model

USERS = [f"user-{number}" for number in range(12)]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


async def configure(site: Site, *configs: ModelConfig) -> int:
    """Write configurations as they are, whatever a publisher would say; return the last offset."""
    records = [(config_key(config.model), encode(config)) for config in configs]
    return await site.write_control(*records)


async def publish_two_models(publisher: ModelPublisher) -> None:
    """Publish two algorithms for one task, under names of their own."""
    await publisher.publish("gbdt", 1, model("half_plus_two"), wait="fleet")
    await publisher.publish("dnn", 7, model("half_plus_two_tf1"), wait="fleet")


async def arms(clients: Doors, names: Iterable[str], offset: int) -> dict[str, dict[str, str]]:
    """Return the arm that each user takes, by door; of the alias `ranker`."""
    found: dict[str, dict[str, str]] = {}
    for door in names:
        found[door] = {}
        for user in USERS:
            told = await clients.ask(door, Question("ranker", user, offset))
            assert told.version == {"gbdt": 1, "dnn": 7}[told.arm], (door, told)
            assert told.model == told.origin["model"] == told.arm, (door, told)
            assert told.origin["routed-by"] == "split", (door, told)
            found[door][user] = told.arm
    return found


async def test_a_user_has_one_arm_at_every_door_of_every_node(site: Site) -> None:
    """Header and record key, gRPC and REST, both APIs, four encodings; restarted, and beside."""
    async with deployment(site) as (node, publisher), doors(site, node) as clients:
        await publish_two_models(publisher)
        offset = await configure(site, ModelConfig(model="ranker", split={"gbdt": 50, "dnn": 50}))
        before = await arms(clients, DOORS, offset)
        expected = before["kafka avro"]
        assert set(expected.values()) == {"gbdt", "dnn"}
        assert before == dict.fromkeys(DOORS, expected)
        assert await node.stop() == 0
    async with site.node() as again, site.node(node_id=f"{site.name}-second") as second:
        for node in (again, second):
            await node.ready()
            async with doors(site, node) as clients:
                names = DOORS if node is again else SYNCHRONOUS
                assert await arms(clients, names, offset) == dict.fromkeys(names, expected)


async def test_a_split_leaves_explicit_versions_and_labels_alone(site: Site) -> None:
    """Only what names neither is split; a model may be an arm of its own alias."""
    async with deployment(site) as (node, publisher), doors(site, node) as clients:
        await publish_two_models(publisher)
        await publisher.publish("gbdt", 2, model("half_plus_two"), wait="fleet")
        labels = {"stable": 1}
        split = {"dnn": 1}
        offset = await configure(site, ModelConfig(model="gbdt", labels=labels, split=split))
        routes = [
            (Question("gbdt", min_offset=offset), ("dnn", "7", "split", "dnn")),
            (Question("gbdt", "u", offset, version=2), ("gbdt", "2", "version", "")),
            (Question("gbdt", "u", offset, label="stable"), ("gbdt", "1", "label", "")),
        ]
        for question, expected in routes:
            for door in DOORS:
                told = await clients.ask(door, question)
                origin = told.origin
                found = (told.model, origin["version"], origin["routed-by"], told.arm)
                assert (told.code, found) == ("OK", expected), door


async def test_aliases_of_aliases_and_what_cannot_be_resolved(site: Site) -> None:
    """Arms are told one after the other; unknown ones and loops are refused alike everywhere."""
    async with deployment(site) as (node, publisher), doors(site, node) as clients:
        await publish_two_models(publisher)
        offset = await configure(
            site,
            ModelConfig(model="outer", split={"inner": 1}),
            ModelConfig(model="inner", split={"dnn@7": 1}),
            ModelConfig(model="lost", split={"nobody": 1}),
            ModelConfig(model="egg", split={"hen": 1}),
            ModelConfig(model="hen", split={"egg": 1}),
        )
        for door in DOORS:
            told = await clients.ask(door, Question("outer", min_offset=offset))
            assert (told.code, told.model, told.arm) == ("OK", "dnn", "inner/dnn@7"), door
            for late in (None, offset):
                told = await clients.ask(door, Question("lost", min_offset=late))
                assert told.code == "NOT_FOUND", door
                assert "Servable not found for request: Latest(nobody)" in told.words, door
                assert "arm 'nobody' of the split of lost" in told.words, door
                told = await clients.ask(door, Question("egg", min_offset=late))
                assert told.code == "FAILED_PRECONDITION", door
                assert "egg → hen → egg" in told.words, door
                assert "version" not in told.origin, door
