"""Compares the topics of a deployment with how Headrace wants them.

Owns the question and its words; creating topics is `headrace.publisher.topics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin.config_resource import (  # type: ignore[import-untyped]
    ConfigResource,
    ConfigResourceType,
)

from headrace.publisher.clients import AIOKafkaAdminClient
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused
from headrace.schemas.topics import TopicSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFinding:
    """One topic as it is; with 0 partitions it does not exist, without faults it is right."""

    name: str
    partitions: int
    replication_factor: int
    faults: tuple[str, ...]

    @property
    def exists(self) -> bool:
        """Whether the broker knows the topic."""
        return self.partitions > 0


async def audit(connection: KafkaConnection, specs: Sequence[TopicSpec]) -> list[TopicFinding]:
    """Return one finding per spec, in the order of the specs.

    Raises:
        BrokerUnreachable: no broker answered.
        BrokerRefused: the broker would not describe a topic.
    """
    async with connection.admin() as admin:
        replicas = _replicas(await admin.describe_topics(None))
        existing = [spec.name for spec in specs if spec.name in replicas]
        settings = await _settings(admin, existing) if existing else {}
    return [_finding(spec, replicas.get(spec.name, []), settings) for spec in specs]


def _replicas(topics: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return the number of replicas of every partition of every topic."""
    return {
        str(topic["topic"]): [len(partition["replicas"]) for partition in topic["partitions"]]
        for topic in topics
    }


async def _settings(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    # Not in the typed face of aiokafka: no one else reads settings.
    admin: Any = client
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, words, _kind, name, entries in response.resources:
            if code:
                raise BrokerRefused(
                    f"Kafka would not show the settings of topic {name!r}: {words or code}"
                )
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _finding(
    spec: TopicSpec, replicas: Sequence[int], settings: Mapping[str, Mapping[str, str]]
) -> TopicFinding:
    faults: list[str] = []
    if not replicas:
        faults.append("does not exist: create it with 'headrace topics create'")
    elif spec.partitions == 1 and len(replicas) != 1:
        faults.append(f"has {len(replicas)} partitions and must have 1")
    for name, wanted in spec.configs.items():
        actual = settings.get(spec.name, {}).get(name, wanted)
        if not _is_same(actual, wanted):
            faults.append(f"{name} is {actual} and should be {wanted}")
    return TopicFinding(
        name=spec.name,
        partitions=len(replicas),
        replication_factor=min(replicas, default=0),
        faults=tuple(faults),
    )


def _is_same(actual: str, wanted: str) -> bool:
    """Compare as numbers where both are: a broker may write 0.1 as 0.10."""
    try:
        return float(actual) == float(wanted)
    except ValueError:
        return actual == wanted
