"""The door of a replay: pipelines over partitions that it assigns itself, each to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.choice import Serving
from headrace.consumer.stream.clients import (
    ConsumerStopped,
    GroupConsumer,
    KafkaError,
    TopicPartition,
)
from headrace.consumer.stream.destinations import Destinations
from headrace.consumer.stream.exactly_once import ExactlyOnce
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.pipeline import Pipeline, Works
from headrace.consumer.stream.replaying import OnlyVersion, PastRequests
from headrace.consumer.stream.replies import Replies
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.publisher.outage import Outage

_MAX_BARREN_SESSIONS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 5.0


class ReplayDoor:
    """Answers past requests with one version, exactly once.

    Its group has no members: it keeps the places that transactions commit.

    **Concurrency:** one task; run it once.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        serving: Serving,
        source: PastRequests,
        intake: Intake,
        options: StreamOptions,
    ) -> None:
        self._connection = connection
        self._source = source
        self._intake = intake
        self._versions = OnlyVersion(serving)
        self._options = options
        self._outage = Outage("replay")

    async def run(self) -> None:
        """Answer the source's partitions to their ends; a broker that restarts is waited for.

        Raises:
            KafkaError: nothing got on, several times.
        """
        pauses, barren, is_done = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS), 0, False
        while not is_done:
            done = self._source.tally.done
            try:
                with strays_as_errors():
                    await self._session(self._source.partitions)
                is_done = True
            except* (KafkaError, PublisherError, TimeoutError, ConsumerStopped) as errors:
                self._outage.went_on(errors.exceptions[0])
                barren = 0 if self._source.tally.done > done else barren + 1
                if barren == _MAX_BARREN_SESSIONS:
                    raise
            if not is_done:
                await asyncio.sleep(next(pauses))

    async def _session(self, partitions: Sequence[TopicPartition]) -> None:
        options, destinations = self._options, Destinations(self._connection)
        own = (options.topics.responses,)
        async with self._connection.consumer(
            group_id=options.group,
            client_id=options.node,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=2 * 2**20,
            fetch_max_wait_ms=100,
        ) as opened:
            consumer = cast("GroupConsumer", opened)
            consumer.assign(partitions)
            works = Works(
                consumer=consumer,
                delivery=ExactlyOnce(self._connection, destinations, options, own),
                intake=self._intake,
                replies=Replies(options, destinations),
                versions=self._versions,
                options=options,
                source=self._source,
            )
            share_bytes = options.max_in_flight_bytes / len(partitions)
            async with asyncio.TaskGroup() as tasks:
                for partition in partitions:
                    pipeline = Pipeline(partition, works, lambda: share_bytes)
                    tasks.create_task(pipeline.run(), name=f"replay {partition.partition}")
