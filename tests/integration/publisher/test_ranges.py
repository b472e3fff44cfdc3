"""Ranges by time and by offset, on a real topic."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from headrace.publisher.clients import TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.ranges import Bound, Edge, Moment, Span, resolve
from headrace.publisher.spans import SpanReader, span_reader
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import TopicSpec

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000


@pytest.fixture
async def reader(bootstrap_servers: str, topic_prefix: str) -> AsyncIterator[SpanReader]:
    """A reader of a topic with 10 records an hour apart on partition 0, and none on partition 1."""
    connection = KafkaConnection(bootstrap_servers)
    topic = f"{topic_prefix}requests"
    # Records of 2023 must not be old enough to go.
    await ensure_topics(
        connection, [TopicSpec(name=topic, partitions=2, configs={"retention.ms": "-1"})]
    )
    async with connection.producer() as producer:
        for number in range(10):
            at_ms = START_MS + number * HOUR_MS
            await (await producer.send(topic, value=b"x", partition=0, timestamp_ms=at_ms))
    async with span_reader(connection) as opened:
        yield opened


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (Edge.BEGINNING, Edge.END, {0: Span(0, 10), 1: Span(0, 0)}),
        (Edge.END, Edge.END, {0: Span(10, 10), 1: Span(0, 0)}),
        (4, 7, {0: Span(4, 7), 1: Span(0, 0)}),
        (4, 700, {0: Span(4, 10), 1: Span(0, 0)}),
        (7, 4, {0: Span(7, 7), 1: Span(0, 0)}),
        ({0: 3}, Edge.END, {0: Span(3, 10)}),
        ({0: 3}, {0: 5}, {0: Span(3, 5)}),
        (Edge.BEGINNING, {1: 0}, {1: Span(0, 0)}),
        (
            Moment(START_MS + 2 * HOUR_MS),
            Moment(START_MS + 5 * HOUR_MS + 1),
            {0: Span(2, 6), 1: Span(0, 0)},
        ),
        (Moment(START_MS + 99 * HOUR_MS), Edge.END, {0: Span(10, 10), 1: Span(0, 0)}),
    ],
)
async def test_bounds_become_spans_of_what_exists(
    reader: SpanReader, topic_prefix: str, since: Bound, until: Bound, expected: dict[int, Span]
) -> None:
    """Cut to the log, never backwards, and by partition where partitions are named."""
    topic = f"{topic_prefix}requests"
    found = await resolve(reader, topic, 2, since, until)
    assert found == {TopicPartition(topic, number): span for number, span in expected.items()}


async def test_a_partition_that_does_not_exist_is_refused(
    reader: SpanReader, topic_prefix: str
) -> None:
    """The message says which exist."""
    with pytest.raises(InvalidArgument, match="no partition 2: it has 2, 0 to 1"):
        await resolve(reader, f"{topic_prefix}requests", 2, {0: 1, 2: 1}, Edge.END)
