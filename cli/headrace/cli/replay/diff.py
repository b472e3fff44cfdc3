"""Compares the answers of a replay with those given then, one partition after another."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple

from headrace.cli.replay.comparing import Comparer, Comparison, Verdict
from headrace.cli.replay.matching import Matcher, Place, Waiting
from headrace.publisher.clients import Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.ranges import Span
from headrace.publisher.spans import SpanReader, span_reader
from headrace.publisher.topics import partition_counts, require_topics
from headrace.schemas.topics import AnswerHeader, RequestHeader

_MAX_WAITING: Final = 50_000
_MAX_WAITING_BYTES: Final = 128 * 2**20
# Clocks of clients and nodes may differ: an answer is looked for from so long before its request.
_SLACK_MS: Final = 10 * 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What is compared.

    Attributes:
        node: who signed the answers of the replay.
        model: the model.
        output_topic: where they are.
        answers_topic: where the answers given then are, unless a request named another topic.
        tolerance: see `Comparer`.
        show: how many of the largest differences are kept.
    """

    node: str
    model: str
    output_topic: str
    answers_topic: str
    tolerance: float = 0.0
    show: int = 10


class Shown(NamedTuple):
    """One request whose answers differ."""

    place: Place
    correlation_id: bytes
    version_then: str
    comparison: Comparison


@dataclass(slots=True)
class DiffReport:
    """How many answers compare how.

    `uncorrelated` requests had no correlation id, so that their answers cannot be told apart;
    `versions_then` counts what answered then; `missing_topics` had answers and are gone.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    uncorrelated: int = 0
    versions_then: Counter[str] = field(default_factory=Counter[str])
    missing_topics: set[str] = field(default_factory=set[str])
    largest: list[Shown] = field(default_factory=list[Shown])

    @property
    def has_differences(self) -> bool:
        """Whether an answer differs beyond the tolerance, or is an error on one side only."""
        found = self.verdicts
        return bool(found[Verdict.DIFFERENT] + found[Verdict.ERROR_THEN] + found[Verdict.ERROR_NOW])


async def diff(
    connection: KafkaConnection, options: DiffOptions, on_progress: Callable[[int, int], None]
) -> DiffReport:
    """Compare every answer of the replay, also those of its earlier runs.

    Raises:
        PublisherError: the topics cannot be read.
    """
    width = (await require_topics(connection, [options.output_topic]))[options.output_topic]
    async with span_reader(connection) as now, span_reader(connection) as then:
        found = _Diff(connection, options, then)
        partitions = [TopicPartition(options.output_topic, number) for number in range(width)]
        spans = {partition: Span(*await now.bounds(partition)) for partition in partitions}
        done, total = 0, sum(span.end - span.start for span in spans.values())
        for partition, span in spans.items():
            async for message in now.read(partition, *span):
                await found.take(message)
                on_progress(done + message.offset - span.start, total)
            await found.settle_all()
            done += span.end - span.start
        return found.report()


class _Diff:
    """Hands the answers of a replay to matchers, and counts what they find.

    **Concurrency:** one task.
    """

    def __init__(
        self, connection: KafkaConnection, options: DiffOptions, reader: SpanReader
    ) -> None:
        self._connection = connection
        self._options = options
        self._reader = reader
        self._node = options.node.encode()
        self._comparer = Comparer(options.model, options.tolerance)
        self._matchers: dict[tuple[str, int, str], Matcher] = {}
        self._widths: dict[str, int] = {}
        self._asked_at_ms: dict[tuple[str, int], int | None] = {}
        self._waiting = self._waiting_bytes = 0
        self._found = DiffReport()
        self._order = count()
        self._heap: list[tuple[float, float, int, Shown]] = []

    def report(self) -> DiffReport:
        """Return what was found, the largest differences first."""
        self._found.largest = [entry[-1] for entry in sorted(self._heap, reverse=True)]
        return self._found

    async def take(self, message: Message) -> None:
        """Take one record of the output topic."""
        headers = dict(message.headers)
        if headers.get(AnswerHeader.NODE) != self._node:
            return  # another replay's
        correlation_id = headers.get(RequestHeader.CORRELATION_ID)
        if not correlation_id:
            self._found.uncorrelated += 1
            return
        place = Place.parse(headers[AnswerHeader.REPLAY_OF].decode())
        named = headers.get(RequestHeader.REPLY_TOPIC, b"").decode(errors="replace")
        waiting = Waiting(place, correlation_id, message)
        matcher = await self._matcher(place, named or self._options.answers_topic)
        if matcher is None:
            self._settled(waiting, None)
            return
        matcher.add(waiting)
        self._waiting += 1
        self._waiting_bytes += len(message.value or b"")
        if self._waiting >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES:
            await max(self._matchers.values(), key=len).settle(self._reader)

    async def settle_all(self) -> None:
        """Settle what waits: nothing comes that could be joined with it."""
        for matcher in self._matchers.values():
            await matcher.settle(self._reader, share=1.0)
        self._matchers.clear()

    async def _matcher(self, place: Place, topic: str) -> Matcher | None:
        """Return what finds the answers to a partition's requests; None without their topic."""
        key = (place.topic, place.partition, topic)
        found = self._matchers.get(key)
        if found is not None:
            return found
        if topic not in self._widths:
            counts = await partition_counts(self._connection, [topic])
            self._widths[topic] = counts.get(topic, 0)
        width = self._widths[topic]
        if not width:
            self._found.missing_topics.add(topic)
            return None
        partition = TopicPartition(topic, place.partition % width)
        asked = place[:2]
        if asked not in self._asked_at_ms:  # those that follow were asked later
            self._asked_at_ms[asked] = await self._look_up(place)
        since_ms = self._asked_at_ms[asked]
        span = Span(*await self._reader.bounds(partition, since_ms))
        matcher = Matcher(self._options.model, partition, span, self._land)
        self._matchers[key] = matcher
        return matcher

    async def _look_up(self, place: Place) -> int | None:
        """Return a time before which a request was not answered, while its record exists."""
        partition = TopicPartition(place.topic, place.partition)
        first, _ = await self._reader.bounds(partition)
        if place.offset < first:
            return None
        async for message in self._reader.read(partition, place.offset, place.offset + 1):
            return message.timestamp - _SLACK_MS
        return None

    def _land(self, waiting: Waiting, then: Message | None) -> None:
        self._waiting -= 1
        self._waiting_bytes -= len(waiting.answer.value or b"")
        self._settled(waiting, then)

    def _settled(self, waiting: Waiting, then: Message | None) -> None:
        """Count one answer, and remember it if it is among those that differ most."""
        if then is None:
            self._found.verdicts[Verdict.NOT_FOUND] += 1
            return
        comparison = self._comparer.compare(then, waiting.answer)
        version = dict(then.headers).get(AnswerHeader.VERSION, b"none").decode()
        self._found.versions_then[version] += 1
        self._found.verdicts[comparison.verdict] += 1
        if not comparison.differences or not self._options.show:
            return
        worst = comparison.differences[0]
        shown = Shown(waiting.place, waiting.correlation_id, version, comparison)
        # Of equal ones the first stay; the number also keeps `Shown` from being compared.
        entry = (worst.absolute, worst.relative, -next(self._order), shown)
        if len(self._heap) < self._options.show:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)
