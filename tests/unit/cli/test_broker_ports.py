"""Ports: free or taken, seen as a client of localhost would."""

import socket
from collections.abc import Iterator

import pytest

from headrace.cli.broker import ports
from headrace.cli.broker.errors import PortTakenError


def _listener(family: socket.AddressFamily, host: str) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    # As Java's listeners do.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, 0))
    except OSError:
        listener.close()
        pytest.skip(f"this machine has no {host}")
    listener.listen()
    return listener


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def taken_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on which a stranger listens, by either protocol."""
    with _listener(*request.param) as listener:
        yield listener.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(taken_port: int) -> None:
    """Also when only the other loopback address has the listener."""
    assert not ports.is_free(taken_port)


def test_a_port_is_free_when_its_listener_is_gone() -> None:
    """Closed connections of a former listener do not count."""
    with _listener(socket.AF_INET, "127.0.0.1") as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            # The side that closes first keeps the port in TIME_WAIT.
            accepted.close()

    assert ports.is_free(port)


async def test_claim_refuses_a_port_that_stays_taken(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the port and the way out."""
    monkeypatch.setattr(ports, "_RELEASE_SECONDS", 0.01)

    with pytest.raises(PortTakenError, match=rf"port {taken_port} .* choose another --port"):
        await ports.claim(taken_port)


def test_picks_different_free_ports() -> None:
    """The broker and its controller need one each."""
    picked = ports.pick_free(3)

    assert len(set(picked)) == 3
    assert all(ports.is_free(port) for port in picked)
