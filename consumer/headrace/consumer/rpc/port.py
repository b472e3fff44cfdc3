"""Binding the gRPC port, with the reason in words when that fails."""

from __future__ import annotations

import errno
import socket

import grpc
from grpc.aio import Server

from headrace.consumer.core.errors import NodeError


def bind(
    server: Server,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials | None,
    *,
    shares: bool,
) -> int:
    """Let `server` listen there, and return the port, which the system chooses when `port` is 0.

    Args:
        server: what listens.
        host: the address.
        port: the port.
        credentials: for TLS; None is plaintext.
        shares: whether other processes that share may have the port too. The server's channel
            arguments have to say the same.

    Raises:
        NodeError: nobody can listen there, or somebody else does.
    """
    _probe(host, port, shares=shares)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise NodeError(f"cannot listen for gRPC on {address}") from error


def _probe(host: str, port: int, *, shares: bool) -> None:
    """Bind and let go: gRPC reports any failure as the same error, and logs it on stderr itself."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shares:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NodeError(
                f"gRPC port {port} is taken: stop what listens on {host}:{port}, or choose "
                "another port"
            ) from error
        raise NodeError(
            f"cannot listen for gRPC on {host}:{port}: {error.strerror or error}"
        ) from error
