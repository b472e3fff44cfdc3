"""Connection settings, and aiokafka's log kept quiet."""

import logging

import pytest

from headrace.publisher.connection import KafkaConnection, quiet_logs
from headrace.publisher.errors import InvalidArgument


@pytest.mark.parametrize(
    ("servers", "listed"),
    [
        ("localhost:9092", ["localhost:9092"]),
        ("a.example:1, b:65535", ["a.example:1", "b:65535"]),
        ("[::1]:9092", ["[::1]:9092"]),
    ],
)
def test_takes_addresses(servers: str, listed: list[str]) -> None:
    """One address, several, and IPv6 in brackets."""
    assert KafkaConnection(servers).client_arguments() == {"bootstrap_servers": listed}


@pytest.mark.parametrize(
    "servers",
    ["", "localhost", "localhost:", ":9092", "localhost:0", "localhost:65536", "a:1,,b:2"],
)
def test_refuses_what_is_no_address(servers: str) -> None:
    """Before anything tries to connect to it."""
    with pytest.raises(InvalidArgument, match="give host:port"):
        KafkaConnection(servers)


def test_a_wording_is_logged_once_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    """An outage must not fill the log; each new kind of trouble is still seen."""
    logger = logging.getLogger("aiokafka")
    before = (logger.level, logger.propagate, logger.handlers)
    try:
        quiet_logs(interval_seconds=3600)
        quiet_logs(interval_seconds=3600)
        client = logging.getLogger("aiokafka.client")
        for port in range(3):
            client.error("Unable to connect to %s", port)
        client.info("chatter")
        client.warning("something else")
        assert caplog.messages == ["Unable to connect to 0", "something else"]
    finally:
        logger.level, logger.propagate, logger.handlers = before
