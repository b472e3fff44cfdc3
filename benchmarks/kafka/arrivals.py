"""When answers arrive at a consumer, for one partition: a reader of all would be half the load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.kafka.payloads import correlation_header, request_number
from benchmarks.kafka.watching import partitions_of
from headrace.publisher.clients import AIOKafkaConsumer, TopicPartition
from headrace.publisher.connection import KafkaConnection

Arrivals = tuple[list[int], list[float]]
"""Request numbers, and the epoch seconds at which a consumer had each one's answer."""

_POLL_MS: Final = 200


class Receiver:
    """Receives the answers to one run in one partition, from the moment it is made.

    **Concurrency:** `run` is one task; `received` belongs to whoever opened it.
    """

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition, run: int) -> None:
        self._consumer = consumer
        self._partition = partition
        self._run = run
        self._found: Arrivals = ([], [])
        self._has_all = asyncio.Event()
        self._is_stopping = False

    async def run(self) -> None:
        """Receive until told that there is no more, and nothing more comes."""
        numbers, times = self._found
        while True:
            found = await self._consumer.getmany(self._partition, timeout_ms=_POLL_MS)
            at = time.time()
            for message in found.get(self._partition, ()):
                number = request_number(self._run, correlation_header(message))
                if number is not None:
                    numbers.append(number)
                    times.append(at)
            if not found and self._is_stopping:
                self._has_all.set()
                return

    async def received(self) -> Arrivals:
        """Return everything, once nothing more comes. Call it when all answers can be read."""
        self.stop()
        await self._has_all.wait()
        return self._found

    def stop(self) -> None:
        """Receive what is there, and end."""
        self._is_stopping = True


@asynccontextmanager
async def receiving(
    connection: KafkaConnection, topic: str, run: int
) -> AsyncGenerator[Receiver, None]:
    """Receive from now on."""
    partition = partitions_of(topic)[0]
    async with connection.consumer(isolation_level="read_committed") as consumer:
        consumer.assign([partition])
        consumer.seek(partition, (await consumer.end_offsets([partition]))[partition])
        receiver = Receiver(consumer, partition, run)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receiver.run())
            try:
                yield receiver
            finally:
                receiver.stop()
