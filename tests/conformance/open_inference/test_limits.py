"""Large messages, and connections that ping."""

from __future__ import annotations

import socket
from typing import Any, cast

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


def test_keepalive_of_tritons_client(stage: Stage) -> None:
    """Triton's client uses HTTP/2 keepalive options: it may ping as often as it can."""
    options = cast("Any", tritonclient.grpc).KeepAliveOptions(
        keepalive_time_ms=50,
        keepalive_timeout_ms=20_000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    client = sync_client(stage.address, keepalive_options=options)
    try:
        # gRPC sends one ping a second. A server that counts strikes hangs up at the fourth.
        seconds = inputs_of(seconds=np.array([4.5], np.float32))
        assert client.infer("sleepy", seconds).as_numpy("seconds").tolist() == [4.5]
    finally:
        client.close()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return an HTTP/2 frame of the connection itself."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + bytes(4) + payload


def test_pings_without_data(stage: Stage) -> None:
    """Allow pings without data: every one is answered, and the connection stays."""
    payloads = [number.to_bytes(8, "big") for number in range(100)]
    with (
        socket.create_connection(("127.0.0.1", stage.grpc_port), timeout=20) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(PREFACE + frame(SETTINGS))
        for payload in payloads:
            connection.sendall(frame(PING, payload))
            while True:
                head = answers.read(9)
                received = answers.read(int.from_bytes(head[:3], "big"))
                assert head[3] != GOAWAY, received
                if head[3] == PING and head[4] & ACK:
                    break
            assert received == payload
