"""Where the gRPC door listens: Unix sockets, and ports that nodes share."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from grpc import aio

from headrace.consumer.core.errors import NodeError
from headrace.consumer.rpc import GrpcDoor, GrpcOptions
from tests.fakes.half_plus_two import predict_request
from tests.fakes.servable import FakeServable
from tests.integration.consumer.rpc.rig import OPTIONS, ready_rig

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUEST = predict_request("half_plus_two", [1.0]).SerializeToString()


@pytest.fixture
def path() -> Generator[Path, None, None]:
    """Where a socket may be: pytest's own folders have names too long for one."""
    with TemporaryDirectory(prefix="hr") as folder:
        yield Path(folder) / "grpc.sock"


def door_with(options: GrpcOptions) -> tuple[GrpcDoor, FakeServable]:
    """Return the door of a node that is ready, and what is behind it."""
    rig = ready_rig(options)
    servable = rig.serve("half_plus_two", 3)
    return GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, options), servable


def mode_of(path: Path) -> int | None:
    """Return who may do what with a file; None when there is none."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def predict(target: str) -> bytes:
    """Ask for one inference by a connection of its own."""
    arguments = (("grpc.use_local_subchannel_pool", 1),)
    async with aio.insecure_channel(target, arguments) as channel:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)
        return await call(REQUEST, timeout=20)


async def test_unix_socket_answers_beside_the_port(path: Path) -> None:
    """Its owner and group may use it, nobody else; at the end it is gone."""
    door, _ = door_with(replace(OPTIONS, unix_socket=path))
    async with door:
        assert await predict(f"unix:{path}") == await predict(f"127.0.0.1:{door.port}")
        assert mode_of(path) == 0o660
    assert mode_of(path) is None


async def test_socket_that_a_dead_node_left_is_replaced(path: Path) -> None:
    """A crash does not keep the next node from starting."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert mode_of(path) is not None
    door, _ = door_with(replace(OPTIONS, unix_socket=path))
    async with door:
        assert await predict(f"unix:{path}")


async def test_socket_of_a_living_process_is_taken(path: Path) -> None:
    """And goes on being its own."""
    first, _ = door_with(replace(OPTIONS, unix_socket=path))
    async with first:
        second, _ = door_with(replace(OPTIONS, unix_socket=path))
        with pytest.raises(NodeError, match=rf"Unix socket {path} is taken"):
            await second.__aenter__()
        assert await predict(f"unix:{path}")


async def test_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    """A slip in a setting deletes nothing."""
    os.close(os.open(path, os.O_CREAT))
    door, _ = door_with(replace(OPTIONS, unix_socket=path))
    with pytest.raises(NodeError, match="is no socket"):
        await door.__aenter__()
    assert mode_of(path) is not None


@pytest.mark.parametrize("name", ["missing/grpc.sock", "x" * 120])
async def test_socket_that_cannot_be_made_is_a_clear_error(path: Path, name: str) -> None:
    """The reasons that there can be are named."""
    door, _ = door_with(replace(OPTIONS, unix_socket=path.parent / name))
    with pytest.raises(NodeError, match=r"cannot make the Unix socket .* 107 bytes"):
        await door.__aenter__()


async def test_nodes_that_share_a_port_each_get_connections() -> None:
    """The kernel spreads connections over all that listen."""
    first, one = door_with(replace(OPTIONS, shares_port=True))
    async with first:
        second, other = door_with(replace(OPTIONS, shares_port=True, port=first.port))
        async with second, asyncio.timeout(60):
            assert second.port == first.port
            while not (one.calls and other.calls):
                await predict(f"127.0.0.1:{first.port}")


async def test_port_of_a_node_that_does_not_share_is_taken() -> None:
    """Both have to want it."""
    first, _ = door_with(OPTIONS)
    async with first:
        second, _ = door_with(replace(OPTIONS, shares_port=True, port=first.port))
        with pytest.raises(NodeError, match=f"gRPC port {first.port} is taken"):
            await second.__aenter__()


def test_umask_is_as_it_was(path: Path) -> None:
    """Making the socket changes the rights of no other file."""

    async def serve() -> None:
        door, _ = door_with(replace(OPTIONS, unix_socket=path))
        async with door:
            pass

    before = os.umask(0o027)
    try:
        asyncio.run(serve())
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
