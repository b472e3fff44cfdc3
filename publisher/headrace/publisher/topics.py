"""Makes sure that the topics exist, and says in words when one exists in the wrong shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from headrace.publisher.clients import AIOKafkaAdminClient, KafkaError, NewTopic, error_class
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, TopicMismatch
from headrace.schemas.topics import TopicSpec

_CREATE_TIMEOUT_MS: Final = 15_000
_PREFERRED_REPLICAS: Final = 3
_ALREADY_EXISTS: Final = 36
_NONE: Final = 0
# Errors that describe one partition's moment (no leader yet, a replica away), not the topic.
_PASSING: Final = frozenset({_NONE, 5, 9})


async def ensure_topics(connection: KafkaConnection, specs: Sequence[TopicSpec]) -> list[str]:
    """Create the topics that do not exist yet and return their names.

    Whoever else creates them at the same moment is no error. An existing topic is left as it is,
    except that a topic which must have one partition (its order is its meaning) is checked.

    Raises:
        BrokerUnreachable: no broker answered.
        BrokerRefused: the broker would not create a topic; the message carries its words.
        TopicMismatch: a topic that must have one partition has another number of them.
    """
    async with connection.admin() as admin:
        try:
            existing = await _partition_counts(admin, [spec.name for spec in specs])
            missing = [spec for spec in specs if spec.name not in existing]
            created = await _create(admin, missing) if missing else []
            raced = [spec.name for spec in missing if spec.name not in created]
            existing |= await _partition_counts(admin, raced) if raced else {}
        except KafkaError as error:
            raise BrokerRefused(f"Kafka did not answer about the topics: {error!r}") from error
    for spec in specs:
        if spec.partitions == 1 and existing.get(spec.name, 1) != 1:
            raise TopicMismatch(
                f"topic {spec.name!r} has {existing[spec.name]} partitions and must have exactly "
                "1, because its order is its meaning: delete it or name another one"
            )
    return created


async def partition_counts(connection: KafkaConnection, names: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each of the topics has; one that does not exist is left out.

    Raises:
        BrokerUnreachable: no broker answered.
        BrokerRefused: the broker would not say.
    """
    async with connection.admin() as admin:
        try:
            return await _partition_counts(admin, names)
        except KafkaError as error:
            raise BrokerRefused(f"Kafka did not answer about the topics: {error!r}") from error


async def require_topics(connection: KafkaConnection, names: Sequence[str]) -> dict[str, int]:
    """Return the topics' partition counts; raise TopicMismatch naming those that do not exist."""
    counts = await partition_counts(connection, names)
    missing = [name for name in names if name not in counts]
    if missing:
        raise TopicMismatch(
            f"missing topic{'s' if len(missing) > 1 else ''} on {connection.bootstrap_servers}: "
            f"{', '.join(missing)}: create them with 'headrace topics create'"
        )
    return counts


async def _partition_counts(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    wanted, counts = set(names), dict[str, int]()
    # All topics, not the wanted ones: aiokafka's metadata request lets the broker create what it
    # names, and a broker with auto.create.topics.enable=true would make topics of the wrong shape.
    for topic in await admin.describe_topics(None):
        code = int(topic["error_code"])
        if topic["topic"] not in wanted:
            continue
        if code not in _PASSING:
            raise BrokerRefused(
                f"Kafka would not describe topic {topic['topic']!r}: {error_class(code).__name__}"
            )
        counts[str(topic["topic"])] = len(topic["partitions"])
    return counts


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> list[str]:
    replicas = await _replicas(admin) if any(s.replication_factor == -1 for s in specs) else 1
    wanted = [
        NewTopic(
            spec.name,
            spec.partitions,
            replicas if spec.replication_factor == -1 else spec.replication_factor,
            topic_configs=spec.configs,
        )
        for spec in specs
    ]
    response = await admin.create_topics(wanted, timeout_ms=_CREATE_TIMEOUT_MS)
    created: list[str] = []
    for name, code, *words in response.topic_errors:
        if code == _NONE:
            created.append(name)
        elif code != _ALREADY_EXISTS:
            said = words[0] if words and words[0] else error_class(code).__name__
            raise BrokerRefused(f"Kafka would not create topic {name!r}: {said}")
    return created


async def _replicas(admin: AIOKafkaAdminClient) -> int:
    """Return the replication factor for "the broker's default".

    aiokafka 0.14 speaks CreateTopics v3; "-1 takes the broker's default" came with v4 (KIP-464).
    """
    cluster = await admin.describe_cluster()
    return min(_PREFERRED_REPLICAS, max(1, len(cluster["brokers"])))
