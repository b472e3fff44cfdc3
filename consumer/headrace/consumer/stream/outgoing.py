"""Records on their way out: one that is measured, and many for one place in rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from headrace.consumer.stream.clients import AIOKafkaProducer, BatchBuilder

# What a record and the batch around it take beside key, value and headers.
_RECORD_OVERHEAD_BYTES: Final = 128
_HEADER_OVERHEAD_BYTES: Final = 12

# A list, since aiokafka's compiled code takes nothing else; never changed once it is in a record.
OutHeaders = list[tuple[str, bytes]]

Row = tuple[bytes | None, bytes | None, OutHeaders]
"""Key, value and headers of a record."""


class Outgoing(NamedTuple):
    """One record to send that may be too large for its topic."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: OutHeaders

    @property
    def size_bytes(self) -> int:
        """At least what the record takes, alone in a batch and not compressed."""
        headers = sum(
            # A header may have no value, whatever aiokafka's annotations say.
            len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES
            for name, value in self.headers
        )
        payload = len(self.key or b"") + len(self.value or b"")
        return payload + headers + _RECORD_OVERHEAD_BYTES


class Parcel:
    """Records for one partition of one topic, in order, each small enough for it."""

    __slots__ = ("max_bytes", "partition", "rows", "topic")

    def __init__(self, topic: str, partition: int, max_bytes: int) -> None:
        self.topic = topic
        self.partition = partition
        self.max_bytes = max_bytes
        self.rows: list[Row] = []


def pack(producer: AIOKafkaProducer, parcel: Parcel, batch_bytes: int) -> Iterator[BatchBuilder]:
    """Pack a parcel: as many records in a batch as the producer and the topic take.

    Args:
        producer: whose batches they are.
        parcel: the records.
        batch_bytes: how large the producer makes its batches.
    """
    if parcel.max_bytes < batch_bytes:
        yield from _pack_measured(producer, parcel)
        return
    batch, now_ms = producer.create_batch(), int(time.time() * 1000)
    append = batch.append
    for key, value, headers in parcel.rows:
        if append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
            batch.close()
            yield batch
            batch = producer.create_batch()
            append = batch.append
            append(timestamp=now_ms, key=key, value=value, headers=headers)
    batch.close()
    yield batch


def _pack_measured(producer: AIOKafkaProducer, parcel: Parcel) -> Iterator[BatchBuilder]:
    """Pack a parcel for a topic that takes less than a whole batch."""
    batch, used = producer.create_batch(), 0
    for key, value, headers in parcel.rows:
        size = Outgoing(parcel.topic, parcel.partition, key, value, headers).size_bytes
        is_full = used > 0 and used + size > parcel.max_bytes
        if is_full or batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            batch.close()
            yield batch
            batch, used = producer.create_batch(), 0
            batch.append(timestamp=None, key=key, value=value, headers=headers)
        used += size
    batch.close()
    yield batch
