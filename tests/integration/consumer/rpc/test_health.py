"""Health checking, called by grpcio's own client stubs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2 import (  # type: ignore[import-untyped]
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
)

from headrace.consumer.core.readiness import Phase
from tests.integration.consumer.rpc.rig import Rig, refusal

SERVICES = [
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "inference.GRPCInferenceService",
]


def health_stub(channel: aio.Channel) -> Any:  # noqa: ANN401 - grpcio's stub has no types
    """Return a health client."""
    return cast("Any", health_pb2_grpc).HealthStub(channel)


async def next_status(watch: AsyncIterator[HealthCheckResponse]) -> int:
    """Return the next status of a watch."""
    response = await asyncio.wait_for(anext(watch), 10)
    return int(response.status)


@pytest.mark.parametrize("service", SERVICES)
async def test_follows_readiness(service: str) -> None:
    """Load balancers send requests from READY to DRAINING, and at no other time."""
    rig = Rig()
    async with rig.open() as channel:
        seen: list[int] = []
        for phase in Phase:
            rig.readiness.enter(phase)
            response = await health_stub(channel).Check(HealthCheckRequest(service=service))
            seen.append(response.status)
    assert [seen[phase] == HealthCheckResponse.SERVING for phase in Phase] == [
        phase is Phase.READY for phase in Phase
    ]


async def test_unknown_service_is_not_found(channel: aio.Channel) -> None:
    """A misspelt service name is not a service that is down."""
    error = await refusal(health_stub(channel).Check(HealthCheckRequest(service="Predict")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_lists_every_service(channel: aio.Channel) -> None:
    """One call tells everything there is."""
    response = await health_stub(channel).List(HealthListRequest())
    assert {name: entry.status for name, entry in response.statuses.items()} == dict.fromkeys(
        SERVICES, HealthCheckResponse.SERVING
    )


async def test_watch_tells_each_change() -> None:
    """A watcher learns of readiness and draining without asking again."""
    rig = Rig()
    async with rig.open() as channel:
        watch = aiter(health_stub(channel).Watch(HealthCheckRequest()))
        assert await next_status(watch) == HealthCheckResponse.NOT_SERVING
        rig.readiness.enter(Phase.READY)
        assert await next_status(watch) == HealthCheckResponse.SERVING
        rig.readiness.enter(Phase.DRAINING)
        assert await next_status(watch) == HealthCheckResponse.NOT_SERVING


async def test_watch_of_an_unknown_service_stays_open(rig: Rig) -> None:
    """The protocol wants SERVICE_UNKNOWN and no end, until the door closes."""
    async with rig.open() as channel:
        watch = aiter(health_stub(channel).Watch(HealthCheckRequest(service="Predict")))
        assert await next_status(watch) == HealthCheckResponse.SERVICE_UNKNOWN
