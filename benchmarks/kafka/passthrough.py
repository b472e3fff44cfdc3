"""The bare minimum beside a node: aiokafka from one topic to another, the same bytes and headers.

`python -m benchmarks.kafka.passthrough ORDER` runs until it is told to stop. What it does is what
any aiokafka program must do to be at-least-once: take, append to batches, send, wait for the
acknowledgements, commit the offsets a few times a second. Batches are not compressed, which is
aiokafka's default and the faster way here.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from benchmarks.children import running
from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.stage import Stage, Subject
from headrace.consumer.stream.clients import GroupConsumer
from headrace.publisher.clients import AIOKafkaProducer, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection

_BATCH_BYTES: Final = 512 * 1024
_MAX_POLL_RECORDS: Final = 2000
_MAX_IN_FLIGHT: Final = 32
_COMMIT_SECONDS: Final = 0.2

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What it is told. `added` are headers that every answer gets besides its request's."""

    bootstrap_servers: str
    requests: str
    responses: str
    group: str
    compression: str | None = None
    added: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """Return the order as the command line takes it."""
        return json.dumps(asdict(self))


class PassThrough:
    """Moves records, and commits what is acknowledged.

    **Concurrency:** `run` is one task.
    """

    def __init__(self, consumer: GroupConsumer, producer: AIOKafkaProducer, order: Order) -> None:
        self._consumer = consumer
        self._producer = producer
        self._topic = order.responses
        self._added: Headers = tuple((name, text.encode()) for name, text in order.added)
        self._positions: dict[TopicPartition, int] = {}
        self._in_flight = asyncio.Semaphore(_MAX_IN_FLIGHT)

    async def run(self) -> None:
        """Move records for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commit_always())
            while True:
                found = await self._consumer.getmany(timeout_ms=500, max_records=_MAX_POLL_RECORDS)
                for partition, messages in found.items():
                    await self._in_flight.acquire()
                    futures = await self._send(partition.partition, messages)
                    end = messages[-1].offset + 1
                    tasks.create_task(self._confirm(partition, futures, end))

    async def _send(self, partition: int, messages: Sequence[Message]) -> list[asyncio.Future[Any]]:
        producer, added = self._producer, self._added
        batches = [producer.create_batch()]
        append = batches[0].append
        for message in messages:
            # aiokafka reads headers as tuples and takes lists only.
            headers = [*message.headers, *added]
            key, value = message.key, message.value
            if append(timestamp=None, key=key, value=value, headers=headers) is None:
                batches.append(producer.create_batch())
                append = batches[-1].append
                append(timestamp=None, key=key, value=value, headers=headers)
        futures: list[asyncio.Future[Any]] = []
        for batch in batches:
            batch.close()
            futures.append(await producer.send_batch(batch, self._topic, partition=partition))
        return futures

    async def _confirm(
        self, partition: TopicPartition, futures: Sequence[asyncio.Future[Any]], end: int
    ) -> None:
        await asyncio.gather(*futures)
        # Batches of one partition are acknowledged in the order in which they were sent.
        self._positions[partition] = end
        self._in_flight.release()

    async def _commit_always(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_SECONDS)
            if self._positions:
                positions, self._positions = self._positions, {}
                await self._consumer.commit(positions)


async def main(order: Order) -> None:
    """Run until SIGTERM."""
    connection = KafkaConnection(order.bootstrap_servers)
    async with (
        connection.consumer(
            group_id=order.group,
            isolation_level="read_committed",
            max_partition_fetch_bytes=2 * 2**20,
        ) as opened,
        connection.producer(
            acks="all",
            linger_ms=0,
            compression_type=order.compression,
            max_batch_size=_BATCH_BYTES,
        ) as producer,
    ):
        consumer = cast("GroupConsumer", opened)
        consumer.subscribe([order.requests])
        moving = asyncio.create_task(PassThrough(consumer, producer, order).run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, moving.cancel)
        await asyncio.wait([moving])
        if not moving.cancelled() and (error := moving.exception()):
            raise error


@asynccontextmanager
async def passing_through(
    stage: Stage,
    name: str,
    **options: Any,  # noqa: ANN401 - fields of Order
) -> AsyncGenerator[Subject, None]:
    """Run one in a process of its own, with topics and a group of its own."""
    order = Order(
        bootstrap_servers=stage.connection.bootstrap_servers,
        requests=f"{name}.requests",
        responses=f"{name}.responses",
        group=name,
        **options,
    )
    await stage.topics(order.requests, order.responses)
    async with running(
        "benchmarks.kafka.passthrough", [order.to_json()], stage.bench.folder
    ) as child:
        await stage.wait_shared(name, 1)
        yield Subject(
            name,
            order.requests,
            order.responses,
            name,
            lambda: {"pass-through": [child.pid]},
            child.check_running,
            check=Payloads.check_same,
            headers=frozenset(name for name, _ in order.added),
        )


if __name__ == "__main__":
    asyncio.run(main(Order(**json.loads(sys.argv[1]))))
