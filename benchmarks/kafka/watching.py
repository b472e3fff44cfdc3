"""Sees answers arrive without reading them: by the end offsets that a read_committed reader has.

Reading hundreds of thousands of answers would take as much of the machine as answering them. Each
answer is read afterwards, when nothing is timed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.kafka.payloads import correlation_header, request_number
from benchmarks.kafka.stage import Subject
from benchmarks.kafka.writing import PARTITIONS
from benchmarks.measurement import BenchmarkError
from headrace.publisher.clients import AIOKafkaConsumer, KafkaError, Message, TopicPartition
from headrace.publisher.connection import KafkaConnection

Ends = Mapping[TopicPartition, int]

_LOOK_SECONDS: Final = 0.02
_STALL_SECONDS: Final = 30.0
_LAST_LOOK_SECONDS: Final = 0.1
_EXTRA_LOOK_MS: Final = 300
_SAMPLE_EVERY: Final = 997


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The answers that a round must have.

    Attributes:
        run: the number of the round, which is in its correlation ids.
        count: how many requests there were.
        check: raises BenchmarkError unless the answer to a request is right; asked for a sample.
        headers: the headers that every answer must have.
        correlation: where an answer has its correlation id.
    """

    run: int
    count: int
    check: Callable[[int, Message], None]
    headers: frozenset[str] = frozenset()
    correlation: Callable[[Message], bytes] = correlation_header


class Watch:
    """The answers of one topic.

    **Concurrency:** event loop only, one caller.
    """

    def __init__(self, connection: KafkaConnection, topic: str, consumer: AIOKafkaConsumer) -> None:
        self._connection = connection
        self._consumer = consumer
        self._partitions = partitions_of(topic)
        self.base: Ends = {}

    async def reset(self) -> None:
        """Count from here."""
        self.base = await self._consumer.end_offsets(self._partitions)

    async def answers(self) -> int:
        """Return how many answers can be read since then; transactions' markers count as well."""
        ends = await self._consumer.end_offsets(self._partitions)
        return sum(ends.values()) - sum(self.base.values())

    async def wait_answered(
        self, subject: Subject, count: int, *, trailing_markers: int = 0
    ) -> float:
        """Return when the last answer could be read, in epoch seconds, once offsets are committed.

        Markers of transactions take offsets too, so `count` offsets may be reached too early; the
        group's committed offsets say when no answer is missing. They need not go past
        `trailing_markers`, which a transaction leaves behind the last request of a partition.

        Raises:
            BenchmarkError: a process of the subject has ended, or nothing moved for half a minute.
        """
        known, moved_at, is_over = -1, time.time(), False
        async with self._connection.admin() as admin:
            while True:
                subject.check_running()
                now = time.time()
                answers = await self.answers()
                if answers != known:
                    known, moved_at = answers, now
                elif is_over:
                    return moved_at
                elif now - moved_at > _STALL_SECONDS:
                    raise BenchmarkError(
                        f"{known} of {count} answers, and no more for half a minute"
                    )
                if known >= count and not is_over:
                    is_over = await self._is_committed(admin, subject, trailing_markers)
                await asyncio.sleep(_LAST_LOOK_SECONDS if is_over else _LOOK_SECONDS)

    async def _is_committed(self, admin: Any, subject: Subject, trailing_markers: int) -> bool:  # noqa: ANN401 - aiokafka's
        """Return whether the group has committed everything that is no trailing marker."""
        assert subject.group is not None, "who has no group is waited for by `wait_quiet`"
        partitions = partitions_of(subject.requests)
        ends = await self._consumer.end_offsets(partitions)
        try:
            committed = await admin.list_consumer_group_offsets(subject.group)
        except KafkaError:
            return False
        return all(
            ends[tp] == 0
            or (tp in committed and committed[tp].offset >= ends[tp] - trailing_markers)
            for tp in partitions
        )

    async def wait_quiet(self, subject: Subject, count: int, seconds: float) -> float:
        """Return when the last answer could be read, once there are `count` or no more come.

        For who may lose some, and writes no transactions.

        Units: `seconds` without an answer until no more are waited for.
        """
        known, moved_at = 0, time.time()
        while known < count and time.time() - moved_at < seconds:
            subject.check_running()
            if (answers := await self.answers()) != known:
                known, moved_at = answers, time.time()
            await asyncio.sleep(_LOOK_SECONDS)
        return moved_at

    async def check(self, expected: Expected) -> None:
        """Read every answer since `reset`, also those after the last that was expected.

        Raises:
            BenchmarkError: one is missing, double, wrong, or has headers missing.
        """
        if missing := expected.count - await self.read(expected):
            raise BenchmarkError(f"{missing} of {expected.count} requests have no answer")

    async def read(self, expected: Expected) -> int:
        """Read every answer since `reset` and return how many requests have theirs.

        Raises:
            BenchmarkError: an answer is double, wrong, or has headers missing.
        """
        seen = bytearray(expected.count)
        options = {"isolation_level": "read_committed", "fetch_max_wait_ms": 100}
        async with self._connection.consumer(**options) as consumer:
            consumer.assign(self._partitions)
            for partition, offset in self.base.items():
                consumer.seek(partition, offset)
            while True:
                found = await consumer.getmany(timeout_ms=_EXTRA_LOOK_MS, max_records=5000)
                for messages in found.values():
                    _check(messages, expected, seen)
                if not found and (seen.count(0) == 0 or await self._is_at_end(consumer)):
                    return expected.count - seen.count(0)

    async def _is_at_end(self, consumer: AIOKafkaConsumer) -> bool:
        ends = await consumer.end_offsets(self._partitions)
        positions = [await consumer.position(tp) for tp in self._partitions]
        return all(at >= ends[tp] for tp, at in zip(self._partitions, positions, strict=True))


def _check(messages: Sequence[Message], expected: Expected, seen: bytearray) -> None:
    for message in messages:
        given = expected.correlation(message)
        number = request_number(expected.run, given)
        if number is None or number >= expected.count:
            raise BenchmarkError(f"an answer to {given!r}, which nobody asked in this round")
        if seen[number]:
            raise BenchmarkError(f"request {number} was answered twice")
        seen[number] = 1
        if missing := expected.headers.difference(name for name, _ in message.headers):
            raise BenchmarkError(
                f"the answer to request {number} has no header {', '.join(sorted(missing))}"
            )
        if number % _SAMPLE_EVERY == 0:
            expected.check(number, message)


@asynccontextmanager
async def watching(connection: KafkaConnection, topic: str) -> AsyncGenerator[Watch, None]:
    """Watch a topic of answers, counting from now."""
    async with connection.consumer(isolation_level="read_committed") as consumer:
        watch = Watch(connection, topic, consumer)
        await watch.reset()
        yield watch


def partitions_of(topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic of the benchmark."""
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]
