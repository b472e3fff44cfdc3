"""The benchmarks' own gRPC client against a real gRPC server."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from benchmarks.rpc.caller import EXPIRED, Caller, Order
from benchmarks.rpc.http2 import OK, Connection, Ended

METHOD = "/a.Service/Method"
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = "4", "8"
HEADERS, RST_STREAM, SETTINGS = 1, 3, 4
END_STREAM, END_HEADERS, MAX_CONCURRENT_STREAMS, REFUSED_STREAM = 0x1, 0x4, 3, 7
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


def test_a_call_past_its_deadline_is_given_up(order: Order) -> None:
    """By the client or by the server, whoever is first; none is left over."""
    is_over = threading.Event()

    def never(request: bytes, _context: grpc.ServicerContext) -> bytes:
        is_over.wait(30)
        return request

    with answering(never, ("grpc.max_concurrent_streams", 2)) as endpoint:
        given = replace(order, endpoint=endpoint, in_flight=50, timeout_seconds=0.3)
        found = Caller(given).run()
        is_over.set()
    assert found["statuses"].keys() <= {EXPIRED, DEADLINE_EXCEEDED}
    assert sum(found["statuses"].values()) >= 50


@pytest.fixture
def scripted() -> Iterator[tuple[Connection, socket.socket]]:
    """Return a connection whose server allows one call at a time, and the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        connection = Connection(f"127.0.0.1:{port}", METHOD, timeout_seconds=1.0)
        server, _ = listening.accept()
        with server:
            server.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", MAX_CONCURRENT_STREAMS, 1)))
            select.select([connection], [], [], 10)
            assert connection.receive() == []
            yield connection, server
        connection.close()


def test_calls_beyond_the_bound_of_streams_wait_for_their_turn(
    scripted: tuple[Connection, socket.socket],
) -> None:
    """The next is sent when one has ended, and a refused one before it."""
    connection, server = scripted
    for due in (1.0, 1.1):
        connection.call(due, b"body")
    connection.send(now=1.2)
    assert headers_in(server) == [1]
    server.sendall(frame(RST_STREAM, 0, 1, struct.pack(">I", REFUSED_STREAM)))
    assert receive(connection) == []
    connection.send(now=1.2)
    assert headers_in(server) == [3]
    server.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 3, b"\x00\x0bgrpc-status\x010"))
    assert receive(connection) == [Ended(1.0, OK)]
    connection.send(now=1.2)
    assert headers_in(server) == [5]


def test_calls_expire_sent_or_not(scripted: tuple[Connection, socket.socket]) -> None:
    """In the order in which they were due; those with time left stay."""
    connection, server = scripted
    for due in (1.0, 1.1, 1.5):
        connection.call(due, b"body")
    connection.send(now=1.2)
    assert connection.expire(now=2.2) == [1.1, 1.0]
    assert connection.inside == 1
    connection.send(now=2.2)
    assert headers_in(server) == [1, 3]


def receive(connection: Connection) -> list[Ended]:
    """Return which calls ended, once something has come."""
    assert select.select([connection], [], [], 10)[0]
    return connection.receive()


def headers_in(server: socket.socket) -> list[int]:
    """Return the streams that the client has begun since the last look."""
    data = server.recv(1 << 16).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    streams: list[int] = []
    while data:
        size, kind, stream = int.from_bytes(data[:3]), data[3], int.from_bytes(data[5:9])
        streams += [stream] if kind == HEADERS else []
        data = data[9 + size :]
    return streams


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """Return a frame of HTTP/2."""
    return len(body).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + body
