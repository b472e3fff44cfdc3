"""What Kafka is told: its properties for one node on this machine, and its logging."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headrace.cli.broker.security import LISTENER, BrokerSecurity

SERVER_PROPERTIES: Final = "server.properties"
LOG4J_PROPERTIES: Final = "log4j2.properties"
NODE_ID: Final = 1

# Paths are relative to the data folder, which is Kafka's working folder: no folder name needs
# escaping then, and the folder may be moved.
STORAGE_FOLDER: Final = "kafka"
LOGS_FOLDER: Final = "logs"
KAFKA_LOG: Final = "kafka.log"

_PROTOCOL_MAP: Final = "listener.security.protocol.map"
_ONE_NODE: Final[Mapping[str, str | int]] = {
    "process.roles": "broker,controller",
    "node.id": NODE_ID,
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    _PROTOCOL_MAP: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "log.dirs": STORAGE_FOLDER,
    "num.partitions": 4,
    # A misspelt topic should fail, not appear.
    "auto.create.topics.enable": "false",
    # One node can hold one replica.
    "default.replication.factor": 1,
    "min.insync.replicas": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    # After kill -9 the node's own controller refuses it until its former session is over.
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 500,
    # The default of 128 MB for the cleaner alone does not fit into a small heap.
    "log.cleaner.threads": 1,
    "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
    "num.network.threads": 2,
    "num.io.threads": 2,
}

# Warnings of all and the story of the server go to a file of at most 30 MB; errors also to the
# console, which is kept for one run.
LOG4J_TEXT: Final = f"""\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {LOGS_FOLDER}/{KAFKA_LOG}
appender.file.filePattern = {LOGS_FOLDER}/{KAFKA_LOG}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
appender.console.type = Console
appender.console.name = console
appender.console.filter.threshold.type = ThresholdFilter
appender.console.filter.threshold.level = error
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server
logger.server.level = info
logger.apache_server.name = org.apache.kafka.server
logger.apache_server.level = info
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the node listens: for clients, as controller, and plainly for itself.

    Without security the first and the last are one.
    """

    clients: int
    controller: int
    plain: int


def server_properties(ports: Ports, security: BrokerSecurity | None = None) -> str:
    """Write the properties of a combined broker and controller that only localhost can reach."""
    doors = {"PLAINTEXT": ports.plain}
    guard: dict[str, str] = {}
    if security:
        doors = {LISTENER: ports.clients} | doors
        protocols = f"{_ONE_NODE[_PROTOCOL_MAP]},{LISTENER}:{security.protocol}"
        guard = {_PROTOCOL_MAP: protocols} | security.properties()
    listeners = doors | {"CONTROLLER": ports.controller}
    properties = {
        **_ONE_NODE,
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(f"{n}://localhost:{port}" for n, port in doors.items()),
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{ports.controller}",
        **guard,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())
