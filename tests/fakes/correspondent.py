"""Whoever asks over Kafka: puts request records on topics and reads what comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.consumer.core.choice import Serving
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.publisher.clients import AIOKafkaProducer, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import partition_counts
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from tests.fakes.servable import FakeServable, planned_version


@dataclass(frozen=True)
class Ask:
    """One request record; `value` overrides what is asked of `model`."""

    x: float = 0.0
    model: str = "half"
    key: bytes | None = None
    value: bytes | None = b"-"
    partition: int | None = 0
    headers: Sequence[tuple[str, bytes]] = ()

    def payload(self) -> bytes | None:
        """Return the record's value."""
        if self.value != b"-":
            return self.value
        tensor = to_tensor("x", np.array([self.x], np.float32))
        return encode(InferenceRequest(model=self.model, inputs=(tensor,)))


def serving_map(*servables: FakeServable) -> ServingMap:
    """Return a map in which these servables are AVAILABLE."""
    serving = ServingMap()
    for servable in servables:
        record = servable.planned.record
        model = serving.model(record.model)
        model.serving[record.version] = Serving(servable.planned, servable)
        model.wanted = model.wanted | {record.version}
    return serving


def half(version: int = 1, model: str = "half") -> FakeServable:
    """Return half plus two, as the control record at offset 40 + version brought it."""
    return FakeServable(planned_version(model, version, control_offset=40 + version))


def ready() -> Readiness:
    """Return the readiness of a node that is ready."""
    readiness = Readiness()
    readiness.enter(Phase.READY)
    return readiness


def answered(message: Message) -> float | str:
    """Return the number that was answered, or the error's code."""
    assert message.value is not None
    response = decode(message.value, InferenceResponse)
    if response.error is not None:
        return response.error.code
    return float(from_tensor(response.outputs[0])[0])


def error_of(message: Message) -> str:
    """Return the error's message."""
    assert message.value is not None
    error = decode(message.value, InferenceResponse).error
    assert error is not None
    return error.message


class Correspondent:
    """Sends and reads, on one connection.

    **Concurrency:** one task.
    """

    def __init__(self, connection: KafkaConnection, producer: AIOKafkaProducer) -> None:
        self.connection = connection
        self._producer = producer

    async def ask(self, topic: str, asks: Sequence[Ask]) -> None:
        """Put requests on a topic, in order."""
        futures = [
            await self._producer.send(
                topic,
                value=ask.payload(),
                key=ask.key if ask.key is not None or ask.value is not None else b"",
                partition=ask.partition,
                headers=list(ask.headers),
            )
            for ask in asks
        ]
        await asyncio.gather(*futures)

    async def read(
        self, topic: str, count: int, *, seconds: float = 30, isolation: str = "read_committed"
    ) -> list[Message]:
        """Return the first `count` records of a topic, or fewer when the time is up."""
        return await self.read_until(
            topic, lambda found: len(found) >= count, seconds=seconds, isolation=isolation
        )

    async def read_until(
        self,
        topic: str,
        is_enough: Callable[[list[Message]], bool],
        *,
        seconds: float = 30,
        isolation: str = "read_committed",
    ) -> list[Message]:
        """Return the records of a topic from its beginning, until they are enough."""
        # A topic that was made a moment ago may not be in the broker's own picture yet.
        async with asyncio.timeout(seconds):
            while not (counts := await partition_counts(self.connection, [topic])):
                await asyncio.sleep(0.05)
        width = counts[topic]
        partitions = [TopicPartition(topic, number) for number in range(width)]
        found: list[Message] = []
        deadline = time.monotonic() + seconds
        async with self.connection.consumer(isolation_level=isolation) as consumer:
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, 0)
            while not is_enough(found) and time.monotonic() < deadline:
                for messages in (await consumer.getmany(*partitions, timeout_ms=100)).values():
                    found += messages
        return found

    async def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """Return what a group has committed."""
        async with self.connection.consumer(group_id=group) as opened:
            consumer: Any = opened
            committed: int | None = await consumer.committed(TopicPartition(topic, partition))
            return committed


@asynccontextmanager
async def correspondent(connection: KafkaConnection) -> AsyncGenerator[Correspondent, None]:
    """Open a correspondent."""
    async with connection.producer(linger_ms=2, max_request_size=20 * 2**20) as producer:
        yield Correspondent(connection, producer)


def headers_of(message: Message) -> dict[str, bytes]:
    """Return the headers by name."""
    return dict(message.headers)
