"""A mirror with its comparing process and a real topic, over servables that the test holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np

from headrace.consumer.core.calls import Answers, Calls, Encoding
from headrace.consumer.core.choice import Serving
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.shadow.lane import LaneOptions
from headrace.consumer.shadow.results import Results
from headrace.consumer.shadow.shadowing import Shadowing, ShadowOptions
from headrace.publisher.clients import AIOKafkaConsumer, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas import codec
from headrace.schemas.comparison import ShadowComparison
from headrace.schemas.records import InferenceRequest, ModelConfig, Route, Shadow
from headrace.schemas.tensors import to_tensor
from headrace.schemas.topics import TopicSpec
from tests.fakes.servable import FakeServable, planned_version


class Stage:
    """Versions that serve, their mirror, and what it has published.

    **Concurrency:** event loop only.
    """

    def __init__(self, connection: KafkaConnection, topic: str, options: ShadowOptions) -> None:
        self.shadowing = Shadowing(Results(connection, topic), options)
        self.map = ServingMap(self.shadowing)
        self.servables: dict[tuple[str, int], FakeServable] = {}
        self._connection = connection
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._waiting: list[ShadowComparison] = []

    def serve(self, model: str, version: int) -> FakeServable:
        """Have a version serve."""
        planned = planned_version(model, version, control_offset=version)
        servable = self.servables[model, version] = FakeServable(planned)
        routes = self.map.model(model)
        routes.serving[version] = Serving(planned, servable)
        routes.wanted |= {version}
        self.map.note_change(version)
        return servable

    def mirror(self, model: str, target: str, fraction: float = 1.0) -> None:
        """Mirror a model's requests."""
        shadow = Shadow(target=target, fraction=fraction)
        self.map.model(model).configure(ModelConfig(model=model, shadow=shadow))
        self.map.note_change(100)

    async def ask(self, route: Route, count: int = 1) -> Answers:
        """Ask as a door does."""
        with self.map.acquire(route) as choice:
            deadlines = [time.monotonic() + 30] * count
            return await choice.infer(Calls(Encoding.AVRO, [REQUEST] * count, deadlines))

    async def comparisons(self, count: int) -> list[ShadowComparison]:
        """Return the next comparisons when there are so many."""
        assert self._consumer is not None
        async with asyncio.timeout(60):
            while len(self._waiting) < count:
                for messages in (await self._consumer.getmany(timeout_ms=50)).values():
                    self._waiting += [
                        codec.decode(message.value or b"", ShadowComparison) for message in messages
                    ]
        found, self._waiting = self._waiting[:count], self._waiting[count:]
        return found

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[None, None]:
        """Read the topic from its beginning."""
        async with self._connection.consumer() as consumer:
            consumer.assign([TopicPartition(self._topic, 0)])
            self._consumer = consumer
            yield


REQUEST = codec.encode(
    InferenceRequest(model="m", inputs=[to_tensor("x", np.array([1.0, 2.0], np.float32))])
)


@asynccontextmanager
async def stage(
    bootstrap_servers: str,
    topic: str,
    *,
    timeout_seconds: float = 30.0,
    lane: LaneOptions | None = None,
) -> AsyncGenerator[Stage, None]:
    """Open a stage."""
    connection = KafkaConnection(bootstrap_servers)
    await ensure_topics(connection, [TopicSpec(name=topic, partitions=1)])
    options = ShadowOptions(
        node="here", timeout_seconds=timeout_seconds, lane=lane or LaneOptions()
    )
    opened = Stage(connection, topic, options)
    async with opened.reading(), opened.shadowing.running(opened.map):
        yield opened
