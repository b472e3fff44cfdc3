"""Ranges of a topic as people give them, by time or by offset, and as spans of its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from headrace.publisher.clients import TopicPartition
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.spans import SpanReader


class Edge(Enum):
    """Where a topic begins and ends at the moment."""

    BEGINNING = "beginning"
    END = "end"


class Moment(NamedTuple):
    """The first record with this timestamp or a later one, in epoch milliseconds."""

    epoch_ms: int


Bound: TypeAlias = Edge | Moment | int | Mapping[int, int]
"""One end of a range: an edge, a moment, an offset of every partition, or offsets by partition.

Offsets by partition leave out the partitions that they do not name.
"""


class Span(NamedTuple):
    """The offsets of one partition from `start` to before `end`."""

    start: int
    end: int


async def resolve(
    reader: SpanReader, topic: str, width: int, since: Bound, until: Bound
) -> dict[TopicPartition, Span]:
    """Return which offsets a range means now, cut to those that exist; a span may be empty.

    Args:
        reader: what asks the broker; one of committed records leaves open transactions out.
        topic: the topic.
        width: how many partitions it has.
        since: where the range begins.
        until: where it ends; that record is not in it.

    Raises:
        InvalidArgument: a bound names a partition that does not exist.
        BrokerUnreachable: the broker did not say in time.
    """
    spans: dict[TopicPartition, Span] = {}
    for number in _numbers(topic, width, [since, until]):
        partition = TopicPartition(topic, number)
        first, end = await reader.bounds(partition)
        edges = [
            await _place(reader, partition, bound, (first, end), default)
            for bound, default in ((since, first), (until, end))
        ]
        start, stop = (max(first, min(end, edge)) for edge in edges)
        spans[partition] = Span(start, max(start, stop))
    return spans


def _numbers(topic: str, width: int, bounds: Sequence[Bound]) -> Sequence[int]:
    """Return the numbers of the partitions that the range covers."""
    named = sorted({number for bound in bounds for number in _by_partition(bound)})
    if not named:
        return range(width)
    if not 0 <= named[0] <= named[-1] < width:
        raise InvalidArgument(
            f"topic {topic!r} has no partition {named[-1]}: it has {width}, 0 to {width - 1}"
        )
    return named


def _by_partition(bound: Bound) -> Mapping[int, int]:
    return bound if isinstance(bound, Mapping) else MappingProxyType({})


async def _place(
    reader: SpanReader,
    partition: TopicPartition,
    bound: Bound,
    edges: tuple[int, int],
    default: int,
) -> int:
    match bound:
        case Edge():
            return edges[bound is Edge.END]
        case Moment(epoch_ms=epoch_ms):
            return (await reader.bounds(partition, epoch_ms))[0]
        case int():
            return bound
        case _:
            return bound.get(partition.partition, default)
