"""One node for the whole suite, which the tests that use it leave as it is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import grpc
import pytest

from headrace.publisher import KafkaConnection
from headrace.schemas.records import Batching, LargeRequests, ModelConfig, PolicyKind, VersionPolicy
from tests.conformance.http_client import Rest
from tests.conformance.node import Doors, running_node
from tests.conformance.tensorflow_serving import STYLES, Client
from tests.e2e.rig import Site
from tests.models import model
from tests.python_models import write_python

SERVED = {
    ("half_plus_two", 1): "half_plus_two",
    ("half_plus_two_tf1", 1): "half_plus_two_tf1",
    ("half_plus_two_tf2", 1): "half_plus_two",
    ("judge_tf1", 3): "judge_tf1",
    ("judge_tf1", 12): "judge_tf1",
    ("judge_tf2", 3): "judge",
    ("judge_tf2", 12): "judge",
    ("sampler_tf1", 1): "sampler_tf1",
    ("sampler_tf2", 1): "sampler_tf2",
    ("zoo", 1): "half_plus_two_zoo",
    ("picky", 1): "picky",
    ("sleepy", 1): "sleepy",
    ("paired", 1): "ragged",
    ("paired_positives", 1): "positives",
    ("paired_picky", 1): "picky",
    ("bounded", 1): "half_plus_two",
}
"""What is served, of which of `tests.models`. Where the style counts, names end in it."""

CONFIGS = tuple(
    ModelConfig(
        model=f"judge_{style}",
        policy=VersionPolicy(kind=PolicyKind.ALL),
        labels={"stable": 3, "canary": 12, "also_stable": 3},
    )
    for style in STYLES
)
PAIRS = Batching(max_rows=2, timeout_micros=20_000_000)
"""Batches of two rows; as a request alone would wait for ever, tests see what runs together."""

BATCHED = {
    **dict.fromkeys(("paired", "paired_positives", "paired_picky"), PAIRS),
    "bounded": Batching(max_rows=2, large_requests=LargeRequests.REFUSE),
}


async def _publish(site: Site) -> None:
    async with site.publisher() as publisher:
        for (name, version), kind in SERVED.items():
            await publisher.publish(name, version, model(kind))
        for config in CONFIGS:
            await publisher.configure(config)
        for name, batching in BATCHED.items():
            await publisher.configure(ModelConfig(model=name, batching=batching))
        for name in ("half_plus_two", "picky"):
            folder = write_python(name, site.folder / name)
            await publisher.publish(f"python_{name}", 1, folder)


def _site(bootstrap_servers: str, folders: pytest.TempPathFactory) -> Site:
    name = f"t-{uuid.uuid4().hex[:12]}"
    return Site(KafkaConnection(bootstrap_servers), name, folders.mktemp("conformance"))


@pytest.fixture(scope="session")
def site(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The deployment that the whole suite shares."""
    return _site(bootstrap_servers, tmp_path_factory)


@pytest.fixture(scope="module")
def own_site(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A deployment for a module that changes it."""
    return _site(bootstrap_servers, tmp_path_factory)


@pytest.fixture(scope="session")
def doors(site: Site) -> Iterator[Doors]:
    """The node that all of it is asked of; it is ready once every version serves."""
    asyncio.run(_publish(site))
    with running_node(site, load_attempts=1) as doors:
        yield doors


@pytest.fixture(scope="session")
def channel(doors: Doors) -> Iterator[grpc.Channel]:
    """A gRPC channel to the node."""
    with grpc.insecure_channel(doors.grpc) as channel:
        yield channel


@pytest.fixture(scope="session")
def client(channel: grpc.Channel) -> Client:
    """TensorFlow Serving's client of the node."""
    return Client(channel)


@pytest.fixture(scope="session")
def rest(doors: Doors) -> Rest:
    """An HTTP client of the node."""
    return Rest(doors)
