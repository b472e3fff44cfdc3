"""What Kafka is told."""

from headrace.cli.broker import config


def _properties(*, port: int, controller_port: int) -> dict[str, str]:
    ports = config.Ports(clients=port, controller=controller_port, plain=port)
    text = config.server_properties(ports)
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
