"""The typed face of aiokafka: what of its clients is used here, with types.

aiokafka ships no type information, so this is the only file of the portion that imports it. The
classes under TYPE_CHECKING are declarations; at run time the names are aiokafka's own.
"""

# ruff: noqa: D102, ANN401 - the methods are aiokafka's, documented there; so are their options

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    import asyncio

    class KafkaError(Exception):
        """The root of aiokafka's errors."""

        retriable: bool

    class KafkaConnectionError(KafkaError):
        """No broker could be reached, or it closed the connection."""

    class SaslAuthenticationFailed(KafkaError):
        """The broker does not know the user, or not with this password."""

    class UnsupportedSaslMechanism(KafkaError):
        """The broker offers other mechanisms."""

    class IllegalSaslState(KafkaError):
        """The broker expects no login, or something else of it."""

    class AbstractTokenProvider:
        """Gives tokens to a client; see aiokafka 0.14."""

    class Connection:
        """One connection, open and logged in."""

        def send(self, request: MetadataRequest) -> Awaitable[Metadata]: ...
        def close(self) -> asyncio.Future[None]: ...

    async def create_conn(host: str, port: int, **options: Any) -> Connection:
        """Open one connection, log in, and raise what goes wrong."""
        ...

    class MetadataRequest:
        """Asks for the cluster's brokers and the topics named (none: no topics)."""

        def __init__(self, topics: Sequence[str]) -> None: ...

    class TopicPartition(NamedTuple):
        """One partition of one topic."""

        topic: str
        partition: int

    class OffsetAndTimestamp(NamedTuple):
        """The first record at a time or after it."""

        offset: int
        timestamp: int

    class AIOKafkaConsumer:
        """Reads partitions; see aiokafka 0.14."""

        def __init__(self, *topics: str, **options: Any) -> None: ...
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        def assign(self, partitions: Iterable[TopicPartition]) -> None: ...
        def seek(self, partition: TopicPartition, offset: int) -> None: ...
        async def position(self, partition: TopicPartition) -> int: ...
        async def beginning_offsets(
            self, partitions: Iterable[TopicPartition]
        ) -> dict[TopicPartition, int]: ...
        async def end_offsets(
            self, partitions: Iterable[TopicPartition]
        ) -> dict[TopicPartition, int]: ...
        async def offsets_for_times(
            self, timestamps: Mapping[TopicPartition, int]
        ) -> dict[TopicPartition, OffsetAndTimestamp | None]: ...
        async def getmany(
            self,
            *partitions: TopicPartition,
            timeout_ms: int = 0,
            max_records: int | None = None,
        ) -> dict[TopicPartition, list[Message]]: ...

    class AIOKafkaProducer:
        """Writes records; see aiokafka 0.14."""

        def __init__(self, **options: Any) -> None: ...
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def flush(self) -> None: ...
        async def partitions_for(self, topic: str) -> set[int]: ...
        async def send(
            self,
            topic: str,
            *,
            value: bytes | None = None,
            key: bytes | None = None,
            partition: int | None = None,
            timestamp_ms: int | None = None,
            headers: Sequence[tuple[str, bytes]] | None = None,
        ) -> asyncio.Future[RecordPlace]: ...
        async def begin_transaction(self) -> None: ...
        async def commit_transaction(self) -> None: ...
        async def abort_transaction(self) -> None: ...
        def create_batch(self) -> BatchBuilder: ...
        async def send_batch(
            self, batch: BatchBuilder, topic: str, *, partition: int
        ) -> asyncio.Future[RecordPlace]: ...

    class BatchBuilder:
        """One batch of records for one partition; see aiokafka 0.14."""

        def append(
            self,
            *,
            timestamp: int | None,
            key: bytes | None,
            value: bytes | None,
            headers: Sequence[tuple[str, bytes]],
        ) -> object | None: ...
        def record_count(self) -> int: ...
        def close(self) -> None: ...

    def murmur2(data: bytes) -> int:
        """Return the hash by which Kafka's own client chooses a key's partition."""
        ...

    class AIOKafkaAdminClient:
        """Inspects and creates topics; see aiokafka 0.14."""

        def __init__(self, **options: Any) -> None: ...
        async def start(self) -> None: ...
        async def close(self) -> None: ...
        async def create_topics(self, new_topics: Sequence[NewTopic], timeout_ms: int) -> Any: ...
        async def describe_topics(self, topics: Sequence[str] | None) -> list[dict[str, Any]]: ...
        async def describe_cluster(self) -> dict[str, Any]: ...

    class NewTopic:
        """One topic to create."""

        def __init__(
            self,
            name: str,
            num_partitions: int,
            replication_factor: int,
            replica_assignments: Mapping[int, Sequence[int]] | None = None,
            topic_configs: Mapping[str, str] | None = None,
        ) -> None: ...

    def error_class(code: int) -> type[KafkaError]:
        """Return aiokafka's error class for a code of the protocol."""
        ...

else:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.abc import AbstractTokenProvider
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.conn import create_conn
    from aiokafka.errors import IllegalSaslStateError as IllegalSaslState
    from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed
    from aiokafka.errors import UnsupportedSaslMechanismError as UnsupportedSaslMechanism
    from aiokafka.errors import for_code as error_class
    from aiokafka.partitioner import murmur2
    from aiokafka.producer.message_accumulator import BatchBuilder
    from aiokafka.protocol.metadata import MetadataRequest


class Message(Protocol):
    """One record as a consumer hands it out."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class TimedMessage(Message, Protocol):
    """One record, and whose clock its timestamp is from: 0 the writer's, 1 the broker's."""

    @property
    def timestamp_type(self) -> int: ...


def timed(message: Message) -> TimedMessage:
    """Return the record with what every record of aiokafka says of its timestamp."""
    return cast("TimedMessage", message)


class Metadata(Protocol):
    """What a broker says of its cluster."""

    @property
    def cluster_id(self) -> str | None: ...


class RecordPlace(Protocol):
    """Where a record went."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def timestamp_type(self) -> int: ...


__all__ = [
    "AIOKafkaAdminClient",
    "AIOKafkaConsumer",
    "AIOKafkaProducer",
    "AbstractTokenProvider",
    "BatchBuilder",
    "IllegalSaslState",
    "KafkaConnectionError",
    "KafkaError",
    "Message",
    "Metadata",
    "MetadataRequest",
    "NewTopic",
    "RecordPlace",
    "SaslAuthenticationFailed",
    "TimedMessage",
    "TopicPartition",
    "UnsupportedSaslMechanism",
    "create_conn",
    "error_class",
    "murmur2",
    "timed",
]
