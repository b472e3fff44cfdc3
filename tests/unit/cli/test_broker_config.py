"""What Kafka is told."""

from pathlib import Path

import pytest

from headrace.cli.broker import BrokerError, BrokerSecurity, config


def _properties(*, port: int, controller_port: int) -> dict[str, str]:
    return _read(config.server_properties(config.Ports(port, controller_port, port)))


def _read(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_listens_on_localhost_only() -> None:
    """No listener of a laptop's broker can be reached from another machine."""
    properties = _properties(port=9092, controller_port=9093)

    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9093"


def test_advertises_the_address_that_the_ready_line_names() -> None:
    """Clients are sent on to the address that they were given."""
    assert _properties(port=9092, controller_port=9093)["advertised.listeners"] == (
        "PLAINTEXT://localhost:9092"
    )


def test_does_not_create_topics_by_itself() -> None:
    """A misspelt topic is an error, as in production."""
    assert _properties(port=1, controller_port=2)["auto.create.topics.enable"] == "false"


def test_names_no_folder_outside_its_own() -> None:
    """Relative names need no escaping, whatever the data folder is called."""
    properties = _properties(port=1, controller_port=2)

    assert properties["log.dirs"] == "kafka"
    assert "/" not in config.LOG4J_TEXT.replace("logs/kafka.log", "")


def test_a_guarded_broker_lets_clients_in_by_tls_alone() -> None:
    """The plain listener beside it is the broker's own, and on the loopback interface too."""
    security = BrokerSecurity(key_and_certificate=Path("/b.pem"), users={"u": "p"})
    properties = _read(config.server_properties(config.Ports(1, 2, 3), security))

    assert properties["listeners"] == (
        "CLIENTS://127.0.0.1:1,PLAINTEXT://127.0.0.1:3,CONTROLLER://127.0.0.1:2"
    )
    assert properties["listener.security.protocol.map"].endswith(",CLIENTS:SASL_SSL")
    assert properties["inter.broker.listener.name"] == "PLAINTEXT"
    assert 'user_u="p"' in properties["listener.name.clients.plain.sasl.jaas.config"]
    assert security.format_arguments() == [
        *("--add-scram", "SCRAM-SHA-256=[name=u,password=p]"),
        *("--add-scram", "SCRAM-SHA-512=[name=u,password=p]"),
    ]


def test_without_users_a_guarded_broker_asks_for_no_login() -> None:
    """With authorities of clients' certificates it asks for a certificate instead."""
    security = BrokerSecurity(key_and_certificate=Path("b"), client_authorities=Path("/ca.pem"))
    properties = security.properties()

    assert security.protocol == "SSL"
    assert properties["listener.name.clients.ssl.client.auth"] == "required"
    assert not [name for name in properties if "sasl" in name]


@pytest.mark.parametrize(("user", "password"), [("a b", "p"), ("u", 'p"'), ("u", ""), ("u", "p,")])
def test_users_that_kafka_could_misread_are_refused(user: str, password: str) -> None:
    """Its files and its format tool have different ways to quote; the password is not told."""
    with pytest.raises(BrokerError, match="not allowed here: use letters"):
        BrokerSecurity(key_and_certificate=Path("b"), users={user: password})
