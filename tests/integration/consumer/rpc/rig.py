"""A gRPC door over fake servables, with a channel to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from grpc import aio

from headrace.consumer.core.choice import Serving
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.core.servable import Servable
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.rpc import GrpcDoor, GrpcOptions
from tests.fakes.repository import FakeRepository
from tests.fakes.servable import FakeServable, planned_version

OPTIONS: Final = GrpcOptions(host="127.0.0.1", port=0, node="node-1", drain_seconds=5)

_UNBOUNDED: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclass
class Rig:
    """What a test of the door holds in its hands.

    **Concurrency:** event loop only.
    """

    options: GrpcOptions = OPTIONS
    serving_map: ServingMap = field(default_factory=ServingMap)
    monitor: Monitor = field(default_factory=Monitor)
    readiness: Readiness = field(default_factory=Readiness)
    repository: FakeRepository = field(default_factory=FakeRepository)

    def serve(self, model: str, version: int, *, max_inside: int = 1_000_000) -> FakeServable:
        """Make a version AVAILABLE, and return its servable."""
        planned = planned_version(model, version, control_offset=100 + version)
        servable = FakeServable(planned, max_inside=max_inside)
        self.put(planned, servable)
        return servable

    def put(self, planned: PlannedVersion, servable: Servable) -> None:
        """Make a version AVAILABLE that has a servable already."""
        record = planned.record
        routes = self.serving_map.model(record.model)
        routes.serving[record.version] = Serving(planned, servable)
        routes.wanted |= {record.version}

    def serving(self, model: str, version: int) -> Serving:
        """Return a version that is AVAILABLE."""
        return self.serving_map.model(model).serving[version]

    def door(self) -> GrpcDoor:
        """Return the door, which is not open yet."""
        return GrpcDoor(
            self.serving_map, self.monitor, self.readiness, self.options, self.repository
        )

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[aio.Channel, None]:
        """Open the door, and a channel that bounds nothing."""
        async with (
            self.door() as door,
            aio.insecure_channel(f"127.0.0.1:{door.port}", _UNBOUNDED) as channel,
        ):
            yield channel


def ready_rig(options: GrpcOptions = OPTIONS) -> Rig:
    """Return a rig whose node is ready."""
    rig = Rig(options)
    rig.readiness.enter(Phase.READY)
    return rig


async def refusal(call: Awaitable[object]) -> aio.AioRpcError:
    """Return the error that a call ends in."""
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    return raised.value
