"""What a replay remembers in Kafka: how far it got, and what it was begun for.

The consumer group of a job holds how far each partition is answered, as a door's does. A second
group, named after what the job is for, holds where each partition's range ends. So a job that is
started again, with the same name, does exactly what is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import NamedTuple, cast

from headrace.consumer.core.errors import ReplayRefused
from headrace.consumer.stream.clients import GroupConsumer, KafkaError, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerUnreachable
from headrace.publisher.ranges import Span


class ReplayJob(NamedTuple):
    """A replay that is begun.

    Attributes:
        spans: what is left to answer, by partition.
        is_resumed: whether it had been begun before.
    """

    spans: Mapping[TopicPartition, Span]
    is_resumed: bool


def job_group(name: str) -> str:
    """Return the consumer group of a job."""
    return f"headrace-replay-{name}"


async def begin(
    connection: KafkaConnection,
    name: str,
    purpose: Sequence[str],
    partitions: Sequence[TopicPartition],
    resolve: Callable[[], Awaitable[Mapping[TopicPartition, Span]]],
) -> ReplayJob:
    """Begin a job, or find what an earlier run of it has left.

    Args:
        connection: where Kafka is.
        name: the job's name.
        purpose: what it is for; a job of that name for something else is refused.
        partitions: every partition that the range may touch.
        resolve: returns the range; not asked when the job was begun before.

    Raises:
        ReplayRefused: the name belongs to a job with another purpose.
        BrokerUnreachable: the broker did not answer.
    """
    group = job_group(name)
    digest = sha256("\n".join(purpose).encode()).hexdigest()[:16]
    try:
        async with AsyncExitStack() as opened:
            progress, ends = [
                cast(
                    "GroupConsumer",
                    await opened.enter_async_context(connection.consumer(group_id=each)),
                )
                for each in (group, f"{group}.{digest}")
            ]
            for consumer in (progress, ends):
                consumer.assign(partitions)
                consumer.pause(*partitions)  # they say where it is, and read nothing
            reached, known = await _read(progress, partitions), await _read(ends, partitions)
            if known and reached.keys() >= known.keys():
                spans = {
                    partition: Span(min(reached[partition], end), end)
                    for partition, end in known.items()
                }
                return ReplayJob(spans, is_resumed=True)
            if reached:
                raise ReplayRefused(
                    f"job {name!r} was begun for another model, version or topic, or had not "
                    "begun when it was stopped: choose another --job, or leave it out"
                )
            spans = dict(await resolve())
            for consumer, offsets in (
                (progress, {partition: span.start for partition, span in spans.items()}),
                (ends, {partition: span.end for partition, span in spans.items()}),
            ):
                await consumer.commit(offsets)
    except (KafkaError, TimeoutError) as error:
        raise BrokerUnreachable(
            f"Kafka at {connection.bootstrap_servers} would not keep the place of job {name!r} "
            f"({error!r}): try again"
        ) from error
    return ReplayJob(spans, is_resumed=False)


async def _read(
    consumer: GroupConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return what the consumer's group has committed."""
    found: dict[TopicPartition, int] = {}
    for partition in partitions:
        offset = await consumer.committed(partition)
        if offset is not None:
            found[partition] = offset
    return found
