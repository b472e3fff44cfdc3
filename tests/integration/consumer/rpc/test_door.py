"""Opening and closing the gRPC door."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2 import (  # type: ignore[import-untyped]
    HealthCheckRequest,
    HealthCheckResponse,
)

from headrace.consumer.core.errors import NodeError
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.rpc import GrpcDoor, GrpcOptions
from tests.fakes.half_plus_two import predict_request
from tests.integration.consumer.rpc.rig import OPTIONS, Rig, ready_rig, refusal

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUEST = predict_request("half_plus_two", [1.0]).SerializeToString()


def predict(channel: aio.Channel) -> aio.UnaryUnaryCall[bytes, bytes]:
    """Begin a call."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)
    return call(REQUEST)


def door_at(options: GrpcOptions) -> GrpcDoor:
    """Return a door with nothing behind it."""
    return GrpcDoor(ServingMap(), Monitor(), Readiness(), options)


async def test_port_that_another_door_has_is_taken() -> None:
    """Two nodes must not share a port and each get half of the connections."""
    async with door_at(OPTIONS) as first:
        second = door_at(replace(OPTIONS, port=first.port))
        with pytest.raises(NodeError, match=f"gRPC port {first.port} is taken"):
            await second.__aenter__()


async def test_port_that_a_stranger_has_is_taken() -> None:
    """Whatever listens there, the reason is one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(NodeError, match=f"gRPC port {port} is taken"):
            await door_at(replace(OPTIONS, port=port)).__aenter__()


async def test_address_of_another_machine_is_refused() -> None:
    """A host that is not ours is named, with the system's reason."""
    with pytest.raises(NodeError, match=r"cannot listen for gRPC on 192\.0\.2\.1:0: Cannot assign"):
        await door_at(replace(OPTIONS, host="192.0.2.1")).__aenter__()


async def test_port_is_free_again_after_closing() -> None:
    """A node can be restarted at once."""
    async with door_at(OPTIONS) as first:
        port = first.port
    async with door_at(replace(OPTIONS, port=port)) as second:
        assert second.port == port


@pytest.mark.parametrize("method", ["PredictStreamed", "Nonsense"])
async def test_method_that_is_not_served_is_unimplemented(
    channel: aio.Channel, method: str
) -> None:
    """A client learns that the method is missing, and not that its request is wrong."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        f"/tensorflow.serving.PredictionService/{method}"
    )
    error = await refusal(call(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


class Opened:
    """A door that a test closes while it holds the channel.

    **Concurrency:** event loop only.
    """

    def __init__(self, rig: Rig) -> None:
        self.door = GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options)

    async def channel(self) -> aio.Channel:
        """Open the door and return a channel to it."""
        await self.door.__aenter__()
        return aio.insecure_channel(f"127.0.0.1:{self.door.port}")

    async def close(self) -> None:
        """Close the door."""
        await self.door.__aexit__(None, None, None)


async def test_closing_waits_for_calls_in_flight_and_refuses_new_ones(rig: Rig) -> None:
    """Nothing that was accepted is lost."""
    servable = rig.serve("half_plus_two", 3)
    servable.hold()
    opened = Opened(rig)
    async with await opened.channel() as channel, asyncio.TaskGroup() as tasks:
        inside = predict(channel)
        await asyncio.wait_for(servable.wait_inside(1), 10)
        closing = tasks.create_task(opened.close())
        async with aio.insecure_channel(f"127.0.0.1:{opened.door.port}") as late:
            # Long enough for a door that does not wait to be closed.
            await asyncio.wait({closing}, timeout=0.3)
            assert not closing.done()
            error = await refusal(predict(late))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await servable.release()
        assert await inside
    assert len(servable.calls) == 1


async def test_closing_ends_calls_that_outlast_the_grace_period() -> None:
    """A model that hangs cannot keep a node from stopping."""
    rig = ready_rig(replace(OPTIONS, drain_seconds=0.1))
    servable = rig.serve("half_plus_two", 3)
    servable.hold()
    opened = Opened(rig)
    async with await opened.channel() as channel:
        inside = predict(channel)
        await asyncio.wait_for(servable.wait_inside(1), 10)
        await asyncio.wait_for(opened.close(), 10)
        error = await refusal(inside)
    assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert servable.cancelled == 1


async def test_closing_does_not_wait_for_watchers() -> None:
    """Whoever watches health is told that it is over, and the watch ends."""
    rig = ready_rig(replace(OPTIONS, drain_seconds=3600))
    opened = Opened(rig)
    async with await opened.channel() as channel:
        stub = cast("Any", health_pb2_grpc).HealthStub(channel)
        watch = aiter(stub.Watch(HealthCheckRequest()))
        assert (await anext(watch)).status == HealthCheckResponse.SERVING
        await asyncio.wait_for(opened.close(), 10)
        assert [response.status async for response in watch] == [HealthCheckResponse.NOT_SERVING]
