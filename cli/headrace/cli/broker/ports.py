"""Ports on localhost: is one free, and which ones are."""

import asyncio
import errno
import random
import socket

from headrace.cli.broker.errors import BrokerError, PortTakenError

_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# Below the ports that the system hands to outgoing connections: one of those may be taken between
# the look and the use, and a client that polls one may even connect to itself.
_PICKED_FROM = range(20_000, 32_000)
_RELEASE_SECONDS = 1.0
_POLL_SECONDS = 0.05


def is_free(port: int) -> bool:
    """Tell whether nothing listens on `port` of either loopback address.

    Both, because a client of ``localhost`` may try ``::1`` first and find a stranger there.

    Raises:
        BrokerError: this user may not listen there (ports below 1024).
    """
    for family, host in _LOOPBACKS:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # As Java does; else the closed connections of a former broker look like a taker.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if family == socket.AF_INET:
                raise BrokerError(
                    f"cannot listen on port {port} of localhost: {error.strerror}; "
                    f"choose another --port (0 picks a free one)"
                ) from error
            # No IPv6 loopback on this machine: nobody listens on it either.
    return True


async def claim(port: int) -> None:
    """Return when `port` is free; a broker that is just dying gets a second to let go.

    Raises:
        PortTakenError: it stays taken.
    """
    try:
        async with asyncio.timeout(_RELEASE_SECONDS):
            while not is_free(port):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise PortTakenError(port) from None


def pick_free(count: int) -> list[int]:
    """Pick `count` different ports that are free now; nothing keeps them so."""
    picked: list[int] = []
    for port in random.sample(_PICKED_FROM, len(_PICKED_FROM)):
        if is_free(port):
            picked.append(port)
            if len(picked) == count:
                return picked
    raise BrokerError(f"no free port between {_PICKED_FROM.start} and {_PICKED_FROM.stop - 1}")
