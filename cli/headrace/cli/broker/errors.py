"""What can go wrong with the embedded broker, each with one line that says what to do.

BrokerError
├── JavaError            Java is missing, too old or does not run
├── LibrariesError       Kafka's jars are missing, wrong or could not be resolved
├── PortTakenError       another program listens on the port
├── DataDirError         the data folder cannot be used, or another broker uses it
└── KafkaProcessError    Kafka did not start, or ended by itself
"""

from collections.abc import Sequence


class BrokerError(Exception):
    """The embedded broker cannot do what was asked; the message is one line for its user."""


class JavaError(BrokerError):
    """No Java that can run Kafka."""


class LibrariesError(BrokerError):
    """No complete and verified set of Kafka's jars."""


class PortTakenError(BrokerError):
    """The port asked for is in use."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(
            f"port {port} on localhost is taken by another program; "
            f"stop that program or choose another --port (0 picks a free one)"
        )


class DataDirError(BrokerError):
    """The data folder cannot be used."""


class KafkaProcessError(BrokerError):
    """Kafka, or its format tool, failed; ``log_tail`` holds its last lines."""

    def __init__(self, message: str, *, exit_code: int | None, log_tail: Sequence[str]) -> None:
        self.exit_code = exit_code
        self.log_tail = tuple(log_tail)
        super().__init__(message)
