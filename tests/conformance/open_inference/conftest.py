"""One node for all of these tests, and Triton's clients of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from headrace.publisher import KafkaConnection
from tests.conformance.open_inference.clients import KINDS, AnyTriton, connected
from tests.conformance.open_inference.models import publish_all
from tests.conformance.open_inference.rest import Ask, Rest
from tests.conformance.open_inference.stage import Stage, staged
from tests.e2e.rig import Site
from tests.integration.consumer.rpc.triton import stub as stub_of


@pytest.fixture(scope="session")
def stage(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A node that serves the models of `models.publish_all`; its queues hold 128 requests."""
    folder = tmp_path_factory.mktemp("open-inference")
    site = Site(KafkaConnection(bootstrap_servers), f"t-{uuid.uuid4().hex[:12]}", folder / "node")
    settings: dict[str, object] = {"max_queue_calls": 128, "load_slots": 2, "load_attempts": 1}
    with staged(site, **settings) as stage:
        stage.run(publish_all(stage, folder))
        yield stage


@pytest.fixture(scope="session", params=KINDS)
def triton(request: pytest.FixtureRequest, stage: Stage) -> Iterator[AnyTriton]:
    """Triton's clients, each in turn."""
    with connected(request.param, stage.address) as client:
        yield client


@pytest.fixture(scope="session")
def channel(stage: Stage) -> Iterator[grpc.Channel]:
    """A bare channel, with gRPC's bounds on messages taken off."""
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(stage.address, unbounded) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: Any) -> Any:  # noqa: ANN401 - Triton's stub has no types
    """Triton's generated stub."""
    return stub_of(channel)


@pytest.fixture(scope="session")
def ask(stage: Stage) -> Iterator[Ask]:
    """Plain HTTP: a verb, a path, a body of bytes or of what JSON has, headers."""
    rest = Rest(stage.http_port)
    yield rest.ask
    rest.close()
