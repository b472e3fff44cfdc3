"""The benchmarks' own gRPC client against a real gRPC server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from benchmarks.rpc.caller import EXPIRED, Caller, Order
from benchmarks.rpc.http2 import OK

METHOD = "/a.Service/Method"
RESOURCE_EXHAUSTED = "8"
Method = Callable[[bytes, grpc.ServicerContext], bytes]


class Handler(grpc.GenericRpcHandler):
    """Takes every call of the one method."""

    def __init__(self, method: Method) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            method
        )

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the handler."""
        return self._handler if handler_call_details.method == METHOD else None


@contextmanager
def answering(method: Method, *options: tuple[str, int]) -> Generator[str]:
    """Serve, and return where."""
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    server.add_generic_rpc_handlers((Handler(method),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Return an order of a few calls."""
    request = tmp_path / "request"
    request.write_bytes(b"question")
    return Order(
        endpoint="",
        method=METHOD,
        requests=[str(request)],
        connections=3,
        seconds=0.2,
        settle_seconds=0.0,
        timeout_seconds=20.0,
    )


def echo(request: bytes, _context: grpc.ServicerContext) -> bytes:
    """Return the question."""
    assert request == b"question"
    return request


@pytest.mark.parametrize(("rate", "in_flight"), [(300.0, 0), (0.0, 7)])
def test_every_call_is_answered_and_counted(order: Order, rate: float, in_flight: int) -> None:
    """By rate and by number, each call has its latency."""
    with answering(echo) as endpoint:
        found = Caller(replace(order, endpoint=endpoint, rate=rate, in_flight=in_flight)).run()
    assert found["statuses"].keys() == {OK}
    assert found["statuses"][OK] > 7
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p99_9_ms"]


def test_refusals_are_told_by_their_status(order: Order) -> None:
    """A refusal is no answer, and has a latency of its own."""

    def refuse(_request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    with answering(refuse) as endpoint:
        found = Caller(replace(order, endpoint=endpoint, rate=300.0)).run()
    assert found["statuses"].keys() == {RESOURCE_EXHAUSTED}
    assert found["answered_per_second"] == 0
    assert found["refused_p50_ms"] > 0
    assert "p50_ms" not in found


def test_a_call_past_its_deadline_is_given_up_wherever_it_is(order: Order) -> None:
    """One that the server's bound of streams keeps here expires like one that was sent."""
    is_over = threading.Event()

    def never(request: bytes, _context: grpc.ServicerContext) -> bytes:
        is_over.wait(30)
        return request

    with answering(never, ("grpc.max_concurrent_streams", 2)) as endpoint:
        given = replace(order, endpoint=endpoint, in_flight=50, timeout_seconds=0.3)
        found = Caller(given).run()
        is_over.set()
    assert OK not in found["statuses"]
    assert found["statuses"][EXPIRED] >= 44
