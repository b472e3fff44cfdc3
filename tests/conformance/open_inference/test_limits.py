"""Large messages, and connections that ping."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

import grpc
import numpy as np
import pytest
import tritonclient.grpc  # type: ignore[import-untyped]

from tests.conformance.open_inference.clients import (
    AnyTriton,
    message,
    refusal,
    with_raw,
)
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO
from tests.conformance.open_inference.stage import Stage
from tests.integration.consumer.rpc.triton import inputs_of, sync_client

MIB = 2**20
OFTEN_MS = 50


@pytest.mark.parametrize(
    ("name", "mebibytes"), [*((name, 5) for name in HALF_PLUS_TWO), ("tf2", 40)]
)
def test_large_message(triton: AnyTriton, name: str, mebibytes: int) -> None:
    """Python grpc default receive is 4 MiB: raise it; in both directions."""
    x = np.arange(mebibytes * MIB // 4, dtype=np.float32).reshape(-1, 1) % 1000
    answer = triton.ask("infer", name, inputs_of(x=x))
    np.testing.assert_array_equal(answer.as_numpy("y"), x / 2 + 2)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_large_string(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """BYTES variable (<2^32): one element of 8 MiB."""
    element = bytes(range(256)) * (8 * MIB // 256)
    packed = len(element).to_bytes(4, "little") + element
    request = with_raw(message(name, signature="string"), "x", "BYTES", [1, 1], packed)
    request.outputs.add(name="same")
    assert list(stub.ModelInfer(request, timeout=60).raw_output_contents) == [packed]


def test_message_above_the_bound(stub: Any) -> None:  # noqa: ANN401 - untyped
    """Triton sets max message INT32_MAX; here --max-message-bytes: RESOURCE_EXHAUSTED."""
    request = with_raw(message("tf2"), "x", "FP32", [16 * MIB + 1, 1], bytes(64 * MIB + 4))
    assert refusal(stub.ModelInfer, request, timeout=60)[0] == "RESOURCE_EXHAUSTED"


def test_large_message_in_a_stream(triton: AnyTriton) -> None:
    """As in a call."""
    x = np.ones((5 * MIB // 4, 1), np.float32)
    ((result, error),) = triton.converse([{"model_name": "tf2", "inputs": inputs_of(x=x)}])
    assert error is None
    assert (result.as_numpy("y") == 2.5).all()


def test_keepalive_pings_while_a_call_runs(stage: Stage) -> None:
    """Triton's client uses HTTP/2 keepalive options: it may ping as often as it likes."""
    options = cast("Any", tritonclient.grpc).KeepAliveOptions(
        keepalive_time_ms=OFTEN_MS,
        keepalive_timeout_ms=20_000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    client = sync_client(stage.address, keepalive_options=options)
    try:
        # Long enough for twenty pings; a server that counts strikes hangs up after the third.
        seconds = inputs_of(seconds=np.array([1.0], np.float32))
        assert client.infer("sleepy", seconds).as_numpy("seconds").tolist() == [1.0]
    finally:
        client.close()


def test_keepalive_pings_without_calls(stage: Stage) -> None:
    """Allow pings without data."""
    arguments = [
        ("grpc.keepalive_time_ms", OFTEN_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    left: Future[grpc.ChannelConnectivity] = Future()

    def watch(state: grpc.ChannelConnectivity) -> None:
        if connected.done() and state is not grpc.ChannelConnectivity.READY and not left.done():
            left.set_result(state)
        if state is grpc.ChannelConnectivity.READY and not connected.done():
            connected.set_result(state)

    connected: Future[grpc.ChannelConnectivity] = Future()
    with grpc.insecure_channel(stage.address, arguments) as channel:
        channel.subscribe(watch, try_to_connect=True)
        connected.result(20)
        # Nothing happens for twenty pings: a server that counts strikes hangs up after the third.
        with pytest.raises(TimeoutError):
            left.result(1.0)
        channel.unsubscribe(watch)
