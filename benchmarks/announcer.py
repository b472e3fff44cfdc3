"""Version events with a known moment: artefacts stored beforehand, events sent by one producer.

`ModelPublisher` would hash, copy, check the log and open a producer around each event; here the
event alone is to be timed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.publisher.artifact import examine
from headrace.publisher.clients import AIOKafkaProducer
from headrace.publisher.connection import KafkaConnection
from headrace.schemas import codec
from headrace.schemas.records import ModelVersion, version_key
from headrace.schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class Announced:
    """When an event was handed to the producer, and when Kafka had acknowledged it.

    Units: epoch seconds.
    """

    sent_at: float
    acknowledged_at: float


class Announcer:
    """Appends version events to the control log.

    **Concurrency:** one event loop, one caller.
    """

    def __init__(self, producer: AIOKafkaProducer, store: Path) -> None:
        self._producer = producer
        self._store = store

    async def prepare(self, model: str, version: int, folder: Path) -> ModelVersion:
        """Put a SavedModel into the store and return the event that would publish it."""
        artifact = await examine(folder)
        return ModelVersion(
            model=model,
            version=version,
            uri=artifact.put(str(self._store), lambda _done, _total: None),
            digest=artifact.manifest.digest,
            size_bytes=artifact.manifest.size_bytes,
            signatures=artifact.signatures,
        )

    async def announce(self, event: ModelVersion) -> Announced:
        """Append the event and return when that was."""
        key, value = version_key(event.model, event.version), codec.encode(event)
        sent_at = time.time()
        await (await self._producer.send(Topics().control, key=key, value=value, partition=0))
        return Announced(sent_at, time.time())


@asynccontextmanager
async def announcing(connection: KafkaConnection, store: Path) -> AsyncGenerator[Announcer, None]:
    """Open an announcer."""
    async with connection.producer() as producer:
        yield Announcer(producer, store)
