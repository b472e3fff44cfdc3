"""The typed face of aiokafka's group consumer, batches and topic settings, as this door uses them.

The classes under TYPE_CHECKING are declarations; at run time the names are aiokafka's own.
"""

# ruff: noqa: D102 - what aiokafka documents

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.publisher.clients import (
    AIOKafkaAdminClient,
    AIOKafkaConsumer,
    AIOKafkaProducer,
    BatchBuilder,
    KafkaError,
    Message,
    TopicPartition,
)

if TYPE_CHECKING:

    class GroupConsumer(AIOKafkaConsumer):
        """A consumer that is a member of a group; see aiokafka 0.14."""

        def subscribe(
            self,
            topics: Iterable[str] = (),
            pattern: str | None = None,
            listener: RebalanceListener | None = None,
        ) -> None: ...
        async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...
        async def committed(self, partition: TopicPartition) -> int | None: ...
        def pause(self, *partitions: TopicPartition) -> None: ...
        def resume(self, *partitions: TopicPartition) -> None: ...

    class TransactionalProducer(AIOKafkaProducer):
        """A producer with a transactional id; see aiokafka 0.14."""

        async def begin_transaction(self) -> None: ...
        async def commit_transaction(self) -> None: ...
        async def send_offsets_to_transaction(
            self, offsets: Mapping[TopicPartition, int], group_id: str
        ) -> None: ...

    class RebalanceListener:
        """Hears of partitions that come and go; see aiokafka 0.14."""

        async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None: ...
        async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None: ...

    class ConfigAdmin(AIOKafkaAdminClient):
        """An admin client that reads settings; see aiokafka 0.14."""

        async def describe_configs(self, resources: Sequence[ConfigResource]) -> list[Any]: ...

    class ConfigResource:
        """Whose settings are meant."""

        def __init__(self, kind: int, name: str) -> None: ...

    class OffsetOutOfRange(KafkaError):
        """The offset asked for is not in the log any more, or not yet."""

    class ConsumerStopped(Exception):
        """The consumer was stopped while somebody read from it."""

    class IllegalOperation(Exception):
        """The transaction ended before its time: something failed in the background."""

    TOPIC_KIND: int

else:
    from aiokafka import AIOKafkaConsumer as GroupConsumer
    from aiokafka import AIOKafkaProducer as TransactionalProducer
    from aiokafka import ConsumerRebalanceListener as RebalanceListener
    from aiokafka.admin import AIOKafkaAdminClient as ConfigAdmin
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
    from aiokafka.errors import ConsumerStoppedError as ConsumerStopped
    from aiokafka.errors import IllegalOperation
    from aiokafka.errors import OffsetOutOfRangeError as OffsetOutOfRange

    TOPIC_KIND = ConfigResourceType.TOPIC


__all__ = [
    "TOPIC_KIND",
    "AIOKafkaProducer",
    "BatchBuilder",
    "ConfigAdmin",
    "ConfigResource",
    "ConsumerStopped",
    "GroupConsumer",
    "IllegalOperation",
    "KafkaError",
    "Message",
    "OffsetOutOfRange",
    "RebalanceListener",
    "TopicPartition",
    "TransactionalProducer",
]
