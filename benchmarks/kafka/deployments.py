"""Nodes as a deployment runs them: their own topics and group, one delivery guarantee."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.kafka import processor_time
from benchmarks.kafka.payloads import PROVENANCE
from benchmarks.kafka.processor_time import Pids
from benchmarks.kafka.stage import Stage, Subject
from benchmarks.kafka.writing import PARTITIONS
from benchmarks.servers import Node, node
from headrace.publisher.models import ModelPublisher
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs

AT_LEAST_ONCE: Final = "at_least_once"
EXACTLY_ONCE: Final = "exactly_once"
DELIVERIES: Final = (EXACTLY_ONCE, AT_LEAST_ONCE)
"""The guarantees that a node can give, the default first."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Nodes that share topics and a group, and nothing with other deployments."""

    subject: Subject
    topics: Topics
    nodes: list[Node]


@asynccontextmanager
async def deployed(
    stage: Stage, delivery: str, models: Mapping[str, Path], *, nodes: int = 1, name: str = ""
) -> AsyncGenerator[Deployment, None]:
    """Run nodes that serve these models, by name, each answering for its part of the partitions."""
    name = name or delivery
    topics = _topics(name)
    await ensure_topics(stage.connection, specs(topics, request_partitions=PARTITIONS))
    store = str(stage.bench.folder / "store")
    async with ModelPublisher(stage.connection, topics=topics, store=store) as publisher:
        for model, folder in models.items():
            await publisher.publish(model, 1, folder)
    serving: list[Node] = []

    def pids() -> Pids:
        return processor_time.joined([processor_time.of_node(each.pid) for each in serving])

    def check_running() -> None:
        for each in serving:
            each.child.check_running()

    async with AsyncExitStack() as stack:
        for number in range(nodes):
            starting = node(
                stage.bench,
                stage.connection,
                name=f"{name}-{number}",
                topics=topics,
                settings={"group": name, "delivery": delivery},
            )
            serving.append(await stack.enter_async_context(starting))
        subject = Subject(
            name,
            topics.requests,
            topics.responses,
            name,
            pids,
            check_running,
            headers=PROVENANCE,
        )
        await stage.wait_shared(name, nodes)
        yield Deployment(subject, topics, serving)


def _topics(name: str) -> Topics:
    return Topics(
        control=f"{name}.control",
        status=f"{name}.status",
        requests=f"{name}.requests",
        responses=f"{name}.responses",
        dead_letters=f"{name}.dead-letters",
    )
