"""Writes requests: a backlog that appears all at once, a live load, or paced arrivals.

Values and batches are cheap to make, so that the load takes little of the machine that it shares
with what is measured.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.kafka.payloads import correlation_id
from benchmarks.measurement import BenchmarkError
from headrace.publisher.clients import AIOKafkaProducer, BatchBuilder
from headrace.publisher.connection import KafkaConnection
from headrace.schemas.topics import RequestHeader

PARTITIONS: Final = 8
_BATCH_BYTES: Final = 512 * 1024
# The broker's limit for a batch is 1,048,588 bytes; one large record and its headers fit below.
_MAX_REQUEST_BYTES: Final = 1_048_000
_MAX_BATCH_RECORDS: Final = 1000
_TICK_SECONDS: Final = 0.001
_LEAD_LOOK_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The requests of one round.

    Attributes:
        topic: where they go, over all partitions.
        run: the number that tells this round's correlation ids from others'.
        values: the encoded requests, over and over.
        count: how many records.
        headers: further headers of every record.
    """

    topic: str
    run: int
    values: Sequence[bytes] = field(repr=False)
    count: int
    headers: tuple[tuple[str, bytes], ...] = ()

    def fill(self, batch: BatchBuilder, numbers: range) -> int:
        """Append requests to a batch until it is full; return how many it took."""
        values, size, run, further = self.values, len(self.values), self.run, self.headers
        for taken, number in enumerate(numbers):
            headers = [(RequestHeader.CORRELATION_ID, correlation_id(run, number)), *further]
            value = values[number % size]
            added = batch.append(timestamp=None, key=None, value=value, headers=headers)
            if added is None:
                return taken
        return len(numbers)


@asynccontextmanager
async def backlog(
    connection: KafkaConnection, requests: Requests
) -> AsyncGenerator[Callable[[], Awaitable[float]], None]:
    """Write requests that no read_committed consumer sees until the context's value is awaited.

    They are one open transaction; its commit makes all of them visible in the same moment. The
    value returns the time just before that, in epoch seconds.
    """
    options = _producer_options() | {
        "transactional_id": f"{requests.topic}-{requests.run}",
        "transaction_timeout_ms": 120_000,
    }
    async with connection.producer(**options) as opened:
        producer: Any = opened
        await producer.begin_transaction()
        await write(opened, requests)

        async def release() -> float:
            at = time.time()
            await producer.commit_transaction()
            return at

        yield release


async def write(
    producer: AIOKafkaProducer,
    requests: Requests,
    answered: Callable[[], Awaitable[int]] | None = None,
    max_lead: int = 0,
) -> None:
    """Write all requests as fast as it goes, batch by batch to one partition after the other.

    With `answered`, never more than `max_lead` requests ahead of what it returns.
    """
    sent: list[asyncio.Future[Any]] = []
    number = partition = known = 0
    while number < requests.count:
        while answered is not None and number - known >= max_lead:
            known = await answered()
            if number - known >= max_lead:
                await asyncio.sleep(_LEAD_LOOK_SECONDS)
        batch = producer.create_batch()
        upto = min(number + _batch_records(requests.count), requests.count)
        taken = requests.fill(batch, range(number, upto))
        if not taken:
            raise BenchmarkError(f"a request of {len(requests.values[0])} bytes fits in no batch")
        batch.close()
        sent.append(await producer.send_batch(batch, requests.topic, partition=partition))
        number, partition = number + taken, (partition + 1) % PARTITIONS
    await asyncio.gather(*sent)


async def pace(
    producer: AIOKafkaProducer, requests: Requests, rate: float, first_due: float
) -> list[float]:
    """Write requests when they are due: number n at `first_due` + n / `rate`.

    What is due within a millisecond leaves in one batch, to one partition after the other. Returns
    by how many seconds the writer itself was late, tick by tick.
    """
    sent: list[asyncio.Future[Any]] = []
    number = partition = 0
    late: list[float] = []
    while number < requests.count:
        await asyncio.sleep(_TICK_SECONDS)
        now = time.time()
        due = min(requests.count, math.floor((now - first_due) * rate) + 1)
        if due > number:
            late.append(now - first_due - number / rate)
        while number < due:
            batch = producer.create_batch()
            taken = requests.fill(batch, range(number, min(due, number + _MAX_BATCH_RECORDS)))
            batch.close()
            sent.append(await producer.send_batch(batch, requests.topic, partition=partition))
            number, partition = number + taken, (partition + 1) % PARTITIONS
    await asyncio.gather(*sent)
    return late


@asynccontextmanager
async def producing(connection: KafkaConnection) -> AsyncGenerator[AIOKafkaProducer, None]:
    """Open a producer for `write` and `pace`."""
    async with connection.producer(**_producer_options()) as producer:
        yield producer


def _producer_options() -> dict[str, Any]:
    return {
        "acks": "all",
        "linger_ms": 0,
        "max_batch_size": _BATCH_BYTES,
        "max_request_size": _MAX_REQUEST_BYTES,
    }


def _batch_records(count: int) -> int:
    """Return how many records a batch should have, so that every partition gets its share."""
    return max(1, min(_MAX_BATCH_RECORDS, count // (4 * PARTITIONS)))
