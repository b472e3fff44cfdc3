"""More calls than the gRPC door takes, and clients that would hold on to it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
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

from headrace.consumer.core.calls import Answers, Calls
from headrace.consumer.core.choice import Serving
from headrace.consumer.core.errors import QueueFull
from headrace.consumer.rpc import GrpcDoor
from headrace.consumer.rpc.admission import CallLimits
from tests.fakes.half_plus_two import predict_request
from tests.fakes.servable import FakeServable, planned_version
from tests.integration.consumer.rpc.raw_client import message, raw_client
from tests.integration.consumer.rpc.rig import OPTIONS, Rig, ready_rig, refusal

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUEST = predict_request("m", [1.0]).SerializeToString()
DEADLINE_EXCEEDED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = "4", "3", "8"


def rig_with(**limits: Any) -> Rig:  # noqa: ANN401 - each limit has its own type
    """Return a rig whose door has these limits."""
    return ready_rig(replace(OPTIONS, limits=CallLimits(**limits)))


@asynccontextmanager
async def opened(rig: Rig) -> AsyncGenerator[tuple[GrpcDoor, aio.Channel], None]:
    """Open the door of a rig, and a channel to it."""
    door = GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options)
    async with door, aio.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        yield door, channel


def predict(channel: aio.Channel) -> aio.UnaryUnaryCall[bytes, bytes]:
    """Begin a call."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)
    return call(REQUEST)


def pushback_of(error: aio.AioRpcError) -> tuple[int, int]:
    """Return when a refused client may come back: in seconds, and in milliseconds."""
    metadata = dict(error.trailing_metadata())
    return int(metadata["retry-after"]), int(metadata["grpc-retry-pushback-ms"])


async def answered(channel: aio.Channel) -> bytes:
    """Return the first answer of a node that is expected to recover."""
    async with asyncio.timeout(30):
        while True:
            call = predict(channel)
            if await call.code() is grpc.StatusCode.OK:
                return await call
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await asyncio.sleep(0.01)


async def test_calls_beyond_the_bound_are_refused_and_told_when_to_come_back() -> None:
    """A flood costs those inside nothing, and the node goes on after it."""
    rig = rig_with(max_calls=3)
    servable = rig.serve("m", 1)
    servable.hold()
    async with opened(rig) as (_, channel):
        inside = [predict(channel) for _ in range(3)]
        await asyncio.wait_for(servable.wait_inside(3), 30)
        errors = await asyncio.gather(*(refusal(predict(channel)) for _ in range(50)))
        assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert all("as many as it takes" in (error.details() or "") for error in errors)
        assert {pushback_of(error)[0] for error in errors} == {1}
        waits = {pushback_of(error)[1] for error in errors}
        assert min(waits) >= 750
        assert max(waits) <= 1250
        assert len(waits) > 1, "all would come back at once"
        await servable.release()
        assert all([await call for call in inside])
        assert await answered(channel)


async def test_full_queue_tells_when_to_come_back(rig: Rig) -> None:
    """The version's own estimate reaches the client, beside the provenance."""
    servable = rig.serve("m", 1)
    servable.raise_all(QueueFull("full", retry_after_seconds=2.5))
    async with opened(rig) as (_, channel):
        error = await refusal(predict(channel))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    seconds, milliseconds = pushback_of(error)
    assert seconds == 3
    assert 1875 <= milliseconds <= 3125
    assert "headrace-provenance" in dict(error.trailing_metadata())


class FullAtFirst(FakeServable):
    """A servable whose queue is full for the first call, and empty for the next."""

    was_asked = False

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:
        """Refuse once."""
        if not self.was_asked:
            self.was_asked = True
            raise QueueFull("full", retry_after_seconds=0.01)
        return await super().infer(calls, may_wait=may_wait)


async def test_client_with_a_retry_policy_obeys_the_pushback(rig: Rig) -> None:
    """The metadata is gRPC's own: without it, this client would wait a minute."""
    planned = planned_version("m", 1)
    routes = rig.serving_map.model("m")
    routes.serving[1] = Serving(planned, FullAtFirst(planned))
    routes.wanted |= {1}
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "60s",
        "maxBackoff": "60s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    door = GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options)
    arguments = (("grpc.service_config", config),)
    async with door, aio.insecure_channel(f"127.0.0.1:{door.port}", arguments) as channel:
        assert await asyncio.wait_for(predict(channel), 30)


async def test_calls_beyond_the_bound_of_a_connection_wait_at_the_client() -> None:
    """What is not sent costs the node nothing, and is not refused either."""
    rig = ready_rig(replace(OPTIONS, max_streams=2, limits=CallLimits(max_calls=100)))
    servable = rig.serve("m", 1)
    servable.hold()
    async with opened(rig) as (_, channel):
        # Whoever has not heard the server's settings yet may open more streams than they allow.
        await cast("Any", channel.unary_unary("/grpc.health.v1.Health/Check"))(b"")
        calls = [predict(channel) for _ in range(1000)]
        await asyncio.wait_for(servable.wait_inside(2), 30)
        await servable.release()
        assert all([await asyncio.wait_for(call, 30) for call in calls])


def flood(port: int, count: int, is_over: threading.Event) -> Counter[str]:
    """Call so often at once, over eight connections, and count how the calls end."""
    arguments = (("grpc.use_local_subchannel_pool", 1),)
    with ExitStack() as opened:
        channels = [
            opened.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", arguments))
            for _ in range(8)
        ]
        methods: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(PREDICT) for channel in channels
        ]
        calls = [methods[n % 8].future(REQUEST, timeout=60) for n in range(count)]
        for call in calls:
            call.add_done_callback(lambda _: is_over.set())
        return Counter(call.code().name for call in calls)


async def test_burst_that_the_event_loop_has_not_got_to_waits(rig: Rig) -> None:
    """Up to a thousand; of more, gRPC cancels some at random."""
    rig.serve("m", 1)
    is_over = threading.Event()
    async with opened(rig) as (door, _), asyncio.TaskGroup() as tasks:
        flooding = tasks.create_task(asyncio.to_thread(flood, door.port, 800, is_over))
        await asyncio.sleep(0)
        # The loop stands still, as it may under load; nothing can end before it goes on.
        assert not is_over.wait(1.5), "a call ended that nobody had looked at"
    assert flooding.result() == {"OK": 800}


async def test_health_is_told_however_many_calls_there_are() -> None:
    """A busy node is not a dead one."""
    rig = rig_with(max_calls=1)
    servable = rig.serve("m", 1)
    servable.hold()
    async with opened(rig) as (_, channel):
        inside = predict(channel)
        await asyncio.wait_for(servable.wait_inside(1), 30)
        stub = cast("Any", health_pb2_grpc).HealthStub(channel)
        assert (await stub.Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        await servable.release()
        assert await inside


@pytest.mark.parametrize(
    "body", [b"", message(b"x" * 100, announced=10_000_000)], ids=["nothing", "half"]
)
async def test_requests_that_do_not_come_are_ended(body: bytes) -> None:
    """Streams that were opened and left do not hold the door's places."""
    rig = rig_with(max_calls=20, arrival_seconds=0.2)
    rig.serve("m", 1)
    async with opened(rig) as (door, channel), raw_client(door.port) as client:
        for _ in range(20):
            await client.call(PREDICT, body)
        await client.wait_ended(20)
        assert client.statuses == {DEADLINE_EXCEEDED: 20}
        assert await answered(channel)


async def test_client_that_keeps_its_side_open_is_answered(rig: Rig) -> None:
    """A whole message is enough; the answer ends the call."""
    rig.serve("m", 1)
    async with opened(rig) as (door, _), raw_client(door.port) as client:
        await client.call(PREDICT, message(REQUEST))
        await client.wait_ended(1)
        assert client.statuses == {"0": 1}


async def test_call_without_a_request_is_refused(rig: Rig) -> None:
    """By itself, gRPC would leave such a call without an answer."""
    async with opened(rig) as (door, _), raw_client(door.port) as client:
        await client.call(PREDICT, ends=True)
        await client.wait_ended(1)
        assert client.statuses == {INVALID_ARGUMENT: 1}


async def test_answers_that_are_not_read_are_bounded_and_freed() -> None:
    """A client without room for answers is refused more of them, until it goes."""
    rig = rig_with(max_bytes=3_000_000)
    rig.serve("m", 1).answer_all(bytes(1_000_000))
    async with opened(rig) as (door, channel):
        async with raw_client(door.port, window_bytes=0) as client:
            for _ in range(50):
                await client.call(PREDICT, message(REQUEST), ends=True)
            await client.wait_ended(46)
            assert set(client.statuses) == {RESOURCE_EXHAUSTED}
            assert (await refusal(predict(channel))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await answered(channel)


async def test_request_that_would_hold_too_much_is_refused() -> None:
    """Beside other calls, and not when it is alone: then no bound can make it impossible."""
    rig = rig_with(max_bytes=2 * len(REQUEST) - 1)
    servable = rig.serve("m", 1)
    servable.hold()
    async with opened(rig) as (_, channel):
        inside = predict(channel)
        await asyncio.wait_for(servable.wait_inside(1), 30)
        error = await refusal(predict(channel))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"of at most {2 * len(REQUEST) - 1}" in (error.details() or "")
        await servable.release()
        assert await inside


async def test_connection_of_some_age_is_closed_with_what_it_holds() -> None:
    """Where that is wanted, also a client that answers every ping cannot stay for ever."""
    rig = ready_rig(replace(OPTIONS, max_age_seconds=0.1, default_timeout_seconds=0.1))
    rig.serve("m", 1).answer_all(bytes(1_000_000))
    async with opened(rig) as (door, _), raw_client(door.port, window_bytes=0) as client:
        await client.call(PREDICT, message(REQUEST), ends=True)
        await client.wait_closed()


async def test_calls_given_up_at_once_leave_no_trace(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the request has been read or not, a cancelled call is no error of the node's."""
    rig.serve("m", 1)
    async with opened(rig) as (door, channel):
        for _ in range(100):
            predict(channel).cancel()
        async with raw_client(door.port) as client:
            for _ in range(20):
                await client.call(PREDICT)
        assert await answered(channel)
        async with asyncio.timeout(30):
            while door.calls:
                await asyncio.sleep(0.01)
    assert [entry for entry in caplog.records if entry.levelno >= logging.ERROR] == []
