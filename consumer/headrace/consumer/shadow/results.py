"""Publishes comparisons on the shadow topic. They may be lost, and never hold anything up."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from headrace.consumer.core.backoff import backoff
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.clients import AIOKafkaProducer, KafkaError, murmur2
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.publisher.outage import Outage

_MAX_PENDING: Final = 10_000
_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 3.0


class Results:
    """Encoded comparisons on their way to the shadow topic.

    Up to 10,000 wait for a broker that is away; then the oldest are dropped. No client is opened
    before there is something to send.

    **Concurrency:** event loop only; `put` never blocks, `send_always` runs in one task.
    """

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._pending: deque[tuple[bytes, bytes]] = deque(maxlen=_MAX_PENDING)
        self._is_sending = False
        self._changed = asyncio.Event()
        self._outage = Outage("shadow topic")

    def put(self, key: bytes, value: bytes) -> None:
        """Publish a comparison soon."""
        self._pending.append((key, value))
        self._changed.set()

    async def send_always(self) -> None:
        """Send what there is, with one producer after another.

        Cancellation: what has not been confirmed is lost.
        """
        pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        while True:
            await self._wait_pending()
            try:
                with strays_as_errors():
                    async with self._connection.producer(
                        enable_idempotence=False, acks=1
                    ) as producer:
                        while True:
                            await self._wait_pending()
                            await self._send(producer)
                            self._outage.ended()
                            pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
            except (KafkaError, PublisherError, TimeoutError) as error:
                self._outage.went_on(error)
            await asyncio.sleep(next(pauses))

    async def flush(self) -> None:
        """Return when everything is sent."""
        while self._pending or self._is_sending:
            self._changed.clear()
            await self._changed.wait()

    async def _wait_pending(self) -> None:
        while not self._pending:
            self._changed.clear()
            await self._changed.wait()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        """Send those of one model that come first, and wait; what is not taken is lost."""
        partitions = sorted(await producer.partitions_for(self._topic))
        pending, batch = self._pending, producer.create_batch()
        key = pending[0][0]
        while pending and pending[0][0] == key:
            value = pending[0][1]
            if batch.append(timestamp=None, key=key, value=value, headers=[]) is None:
                break
            pending.popleft()
        batch.close()
        partition = partitions[(murmur2(key) & 0x7FFFFFFF) % len(partitions)]
        self._is_sending = True
        try:
            await (await producer.send_batch(batch, self._topic, partition=partition))
        finally:
            self._is_sending = False
            self._changed.set()
