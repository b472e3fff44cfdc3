"""The embedded broker: a real Apache Kafka on this machine, for laptops and tests.

It owns the Java process from its jars to its exit: resolve, format, start, answer, stop.
It is no part of serving: nodes and publishers see a bootstrap address and nothing else.
"""

from headrace.cli.broker.embedded import EmbeddedBroker
from headrace.cli.broker.errors import BrokerError
from headrace.cli.broker.jvm import Profile
from headrace.cli.broker.security import BrokerSecurity

__all__ = ["BrokerError", "BrokerSecurity", "EmbeddedBroker", "Profile"]
