"""Makes sure that the topics exist, and says in words when one exists in the wrong shape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from headrace.publisher.clients import (
    AIOKafkaAdminClient,
    KafkaConnectionError,
    KafkaError,
    NewTopic,
    error_class,
)
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, BrokerUnreachable, TopicMismatch
from headrace.schemas.topics import TopicSpec

_CREATE_TIMEOUT_MS: Final = 10_000
_ANSWER_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.2
_LISTED_SECONDS: Final = 5.0
_PREFERRED_REPLICAS: Final = 3
_ALREADY_EXISTS: Final = 36
_NONE: Final = 0
# Errors that describe one partition's moment (no leader yet, a replica away), not the topic.
_PASSING: Final = frozenset({_NONE, 5, 9})

T = TypeVar("T")


async def ensure_topics(connection: KafkaConnection, specs: Sequence[TopicSpec]) -> list[str]:
    """Create the topics that do not exist yet and return their names.

    Whoever else creates them at the same moment is no error. An existing topic is left as it is,
    except that a topic which must have one partition (its order is its meaning) is checked.

    Raises:
        BrokerUnreachable: no broker answered.
        BrokerRefused: the broker would not create a topic; the message carries its words.
        TopicMismatch: a topic that must have one partition has another number of them.
    """
    names = [spec.name for spec in specs]
    created: list[str] = []

    async def create_missing(admin: AIOKafkaAdminClient) -> dict[str, int]:
        existing = await _partition_counts(admin, names)
        missing = [spec for spec in specs if spec.name not in existing]
        if missing:
            created.extend(await _create(admin, missing))
        return await _listed(admin, names)

    existing = await _ask(connection, create_missing)
    for spec in specs:
        if spec.partitions == 1 and existing.get(spec.name, 1) > 1:
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
    wanted = list(names)
    return await _ask(connection, lambda admin: _partition_counts(admin, wanted))


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


async def _ask(
    connection: KafkaConnection, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]
) -> T:
    """Ask the cluster, again while it has no answer yet.

    A broker that has just started, or lost touch with its controller, accepts connections and
    knows neither brokers nor topics for a moment.
    """
    deadline = time.monotonic() + connection.connect_timeout_seconds
    while True:
        try:
            async with connection.admin() as admin, asyncio.timeout(_ANSWER_SECONDS):
                return await question(admin)
        except (KafkaError, TimeoutError) as error:
            is_passing = isinstance(error, TimeoutError) or error.retriable
            if not is_passing:
                raise BrokerRefused(
                    f"Kafka at {connection.bootstrap_servers} refused: {error!r}"
                ) from error
            if time.monotonic() >= deadline:
                raise BrokerUnreachable(
                    f"Kafka at {connection.bootstrap_servers} is there and does not answer about "
                    f"its topics ({error!r}): try again when it is up, or look at its log"
                ) from error
        await asyncio.sleep(_RETRY_SECONDS)


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


async def _listed(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return the partition counts once every topic is listed with its partitions, or time is up.

    A new topic is the controller's knowledge first; a broker lists it a moment later, which on a
    busy machine is long enough to be called missing by whoever asks next.
    """
    deadline = time.monotonic() + _LISTED_SECONDS
    while True:
        counts = await _partition_counts(admin, names)
        if all(counts.get(name) for name in names) or time.monotonic() >= deadline:
            return counts
        await asyncio.sleep(_RETRY_SECONDS / 4)


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
    try:
        response = await admin.create_topics(wanted, timeout_ms=_CREATE_TIMEOUT_MS)
    except AttributeError as error:
        # What aiokafka 0.14 makes of metadata that names no controller.
        raise KafkaConnectionError("the cluster has no controller yet") from error
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
