"""Sends request records: one at a time, or many of one caller as ready-made batches.

Owns the producer, and replaces it once a send of it has failed. Knows no tensors and no answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NamedTuple, Self

from headrace.publisher.clients import (
    AIOKafkaProducer,
    BatchBuilder,
    KafkaError,
    RecordPlace,
    murmur2,
)
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import InferenceFailed, PublisherError

_MAX_BATCH_BYTES: Final = 256 * 1024
# Neighbours of one call that go to one partition together: large enough to make batches of, small
# enough that a modest call keeps several nodes busy.
_BLOCK: Final = 64

OnLost = Callable[[bytes, InferenceFailed], None]


class Outgoing(NamedTuple):
    """One request record."""

    correlation_id: bytes
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]


class Outbox:
    """Where requests leave by; `on_lost` hears of those that did not arrive.

    **Concurrency:** one event loop, any number of callers.
    """

    def __init__(
        self, connection: KafkaConnection, topic: str, max_request_bytes: int, on_lost: OnLost
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._max_request_bytes = max_request_bytes
        self._on_lost = on_lost
        self._renewing = asyncio.Lock()
        self._opened = AsyncExitStack()
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Open the producer; raises BrokerUnreachable or BrokerRefused."""
        await self._current()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the producer; what it has not delivered by then is lost."""
        self._producer = None
        await self._opened.aclose()

    def check(self, key: bytes | None, value: bytes) -> None:
        """Raise InferenceFailed if a request is larger than the broker takes.

        The broker would refuse it too, but then the producer could not be used any more.
        """
        size = len(value) + len(key or b"")
        if size > self._max_request_bytes:
            raise InferenceFailed(
                "INVALID_ARGUMENT",
                f"the request has {size} bytes; at most {self._max_request_bytes}: raise the "
                "request topic's max.message.bytes and max_request_bytes, or name a claim_store "
                "that the nodes can read (--claim-store)",
            )

    async def partitions(self) -> list[int]:
        """Return the request topic's partitions; raises InferenceFailed when nobody says."""
        return sorted(await (await self._ready()).partitions_for(self._topic))

    async def send(self, outgoing: Outgoing) -> None:
        """Hand one request to the producer, which joins what is sent at the same time.

        Raises:
            InferenceFailed: it is too large, or the producer would not take it.
        """
        self.check(outgoing.key, outgoing.value)
        producer = await self._ready()
        try:
            delivery = await producer.send(
                self._topic, value=outgoing.value, key=outgoing.key, headers=outgoing.headers
            )
        except KafkaError as error:
            raise self._refused(producer, error) from error
        delivery.add_done_callback(partial(self._delivered, producer, [outgoing.correlation_id]))

    async def new_batch(self) -> BatchBuilder:
        """Return an empty batch for `send_batch`; raises InferenceFailed without a broker."""
        return (await self._ready()).create_batch()

    async def send_batch(self, batch: BatchBuilder, partition: int, ids: Sequence[bytes]) -> None:
        """Hand a batch of checked requests to the producer; `on_lost` hears if it fails.

        Raises:
            InferenceFailed: there is no broker.
        """
        # Open, it would also take records of other callers, which `ids` does not name.
        batch.close()
        producer = await self._ready()
        try:
            delivery = await producer.send_batch(batch, self._topic, partition=partition)
        except KafkaError as error:
            self._lose(ids, self._refused(producer, error))
            return
        delivery.add_done_callback(partial(self._delivered, producer, ids))

    def _delivered(
        self,
        producer: AIOKafkaProducer,
        ids: Sequence[bytes],
        delivery: asyncio.Future[RecordPlace],
    ) -> None:
        error = None if delivery.cancelled() else delivery.exception()
        if error is not None:
            self._lose(ids, self._refused(producer, error))

    def _lose(self, ids: Sequence[bytes], failure: InferenceFailed) -> None:
        for correlation_id in ids:
            self._on_lost(correlation_id, failure)

    def _refused(self, producer: AIOKafkaProducer, error: BaseException) -> InferenceFailed:
        # A failed send leaves a gap in the producer's sequence numbers: the next caller gets a new
        # one. Others may have replaced it already.
        if self._producer is producer:
            self._producer = None
        return InferenceFailed("UNAVAILABLE", f"Kafka did not take the request: {error!r}")

    async def _ready(self) -> AIOKafkaProducer:
        try:
            return await self._current()
        except PublisherError as error:
            raise InferenceFailed("UNAVAILABLE", str(error)) from error

    async def _current(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        async with self._renewing:
            if self._producer is None:
                await self._opened.aclose()
                self._producer = await self._opened.enter_async_context(
                    self._connection.producer(
                        max_batch_size=_MAX_BATCH_BYTES,
                        # Never reached: `check` is stricter, and counts what the caller counts.
                        max_request_size=self._max_request_bytes + _MAX_BATCH_BYTES,
                    )
                )
            return self._producer


class Mailing:
    """The requests of one call on their way into batches, one batch open per partition.

    **Concurrency:** one task.
    """

    def __init__(self, box: Outbox, partitions: Sequence[int]) -> None:
        self._box = box
        self._partitions = partitions
        self._open: dict[int, tuple[BatchBuilder, list[bytes]]] = {}
        self._unkeyed = 0

    async def add(self, outgoing: Outgoing) -> None:
        """Put one checked request into its partition's batch, which is sent first if it is full."""
        partition = self._partition(outgoing.key)
        if not await self._append(partition, outgoing):
            await self._send(partition)
            await self._append(partition, outgoing)

    async def flush(self) -> None:
        """Send every open batch."""
        for partition in list(self._open):
            await self._send(partition)

    async def _append(self, partition: int, outgoing: Outgoing) -> bool:
        if partition not in self._open:
            self._open[partition] = (await self._box.new_batch(), [])
        batch, ids = self._open[partition]
        added = batch.append(
            timestamp=None, key=outgoing.key, value=outgoing.value, headers=outgoing.headers
        )
        if added is None:
            return False
        ids.append(outgoing.correlation_id)
        return True

    async def _send(self, partition: int) -> None:
        batch, ids = self._open.pop(partition)
        await self._box.send_batch(batch, partition, ids)

    def _partition(self, key: bytes | None) -> int:
        if key is not None:
            return self._partitions[(murmur2(key) & 0x7FFFFFFF) % len(self._partitions)]
        self._unkeyed += 1
        return self._partitions[self._unkeyed // _BLOCK % len(self._partitions)]
