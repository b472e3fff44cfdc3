"""The Kafka door's life: wait until the node is ready, serve, start over after errors, stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, cast

import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream.at_least_once import AtLeastOnce
from headrace.consumer.stream.claims import Claims
from headrace.consumer.stream.clients import (
    ConsumerStopped,
    GroupConsumer,
    KafkaError,
    TopicPartition,
)
from headrace.consumer.stream.commits import Commits
from headrace.consumer.stream.crew import Crew
from headrace.consumer.stream.delivery import Delivery
from headrace.consumer.stream.destinations import Destinations
from headrace.consumer.stream.exactly_once import ExactlyOnce
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.options import DeliveryGuarantee, StreamOptions
from headrace.consumer.stream.pipeline import Works
from headrace.consumer.stream.replies import Replies
from headrace.consumer.stream.source import Unbounded
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.publisher.outage import Outage

_LOG: Final = structlog.get_logger(__name__)
_FIRST_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 5.0
_WATCH_MS: Final = 1000
_STOP_MARGIN_SECONDS: Final = 20.0
_REBALANCE_MARGIN_SECONDS: Final = 10.0
# A partition that is never assigned: reading it waits, and tells what went wrong with the group.
_NOWHERE: Final = TopicPartition("", 0)


class KafkaDoor:
    """Answers requests from Kafka with the versions in a serving map.

    An async context manager: it starts when the node is ready, and on exit it stops fetching,
    finishes what is in flight (bounded), commits and leaves the group. A broker that is away is
    waited for; an error that is not Kafka's ends the `async with` block.

    **Concurrency:** event loop only; one door may be entered once.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        serving_map: ServingMap,
        readiness: Readiness,
        options: StreamOptions,
        intake: Intake | None = None,
    ) -> None:
        self._connection = connection
        self._serving_map = serving_map
        self._readiness = readiness
        self._options = options
        self._destinations = Destinations(connection)
        self._replies = Replies(options, self._destinations)
        self._intake = intake or Intake(None, Claims((), 1), options.topics.responses, 1)
        self._outage = Outage("request topics")
        self._stopping = asyncio.Event()
        self._life = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._life.enter_async_context(self._running())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._life.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None, None]:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._serve(), name="kafka door")
            try:
                yield
            finally:
                self._stopping.set()
                bound = self._options.drain_timeout_seconds + _STOP_MARGIN_SECONDS
                await asyncio.wait([serving], timeout=bound)
                serving.cancel()

    async def _serve(self) -> None:
        """Serve one session after another until told to stop."""
        if not await self._wait_ready():
            return
        pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        while not self._stopping.is_set():
            try:
                with strays_as_errors():
                    await self._session()
                pauses = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
            except* (KafkaError, PublisherError, TimeoutError) as errors:
                self._outage.went_on(errors.exceptions[0])
            await self._pause(next(pauses))

    async def _wait_ready(self) -> bool:
        """Return whether the node became ready before the door was told to stop."""
        await _first_of(self._readiness.wait_ready(), self._stopping.wait())
        return not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _session(self) -> None:
        """Be a member of the group until told to stop, or until the consumer fails.

        Raises:
            KafkaError: the consumer failed. What was not committed comes again.
        """
        async with asyncio.TaskGroup() as tasks:
            async with self._connection.consumer(**self._consumer_options()) as opened:
                consumer = cast("GroupConsumer", opened)
                delivery = self._delivery(consumer)
                works = Works(
                    consumer=consumer,
                    delivery=delivery,
                    intake=self._intake,
                    replies=self._replies,
                    versions=self._serving_map,
                    options=self._options,
                    source=Unbounded(self._options.default_deadline_seconds),
                )
                crew = Crew(works, tasks)
                background = [
                    tasks.create_task(delivery.run(), name="delivery"),
                    tasks.create_task(self._watch(consumer, crew), name="group watch"),
                ]
                consumer.subscribe(
                    self._options.subscribed,
                    pattern=self._options.request_pattern,
                    listener=crew,
                )
                try:
                    await _first_of(crew.wait_failed(), self._stopping.wait())
                finally:
                    await crew.close()
            # Only now: nobody may be cancelled inside getmany while the consumer lives.
            await crew.dismiss()
            for task in background:
                task.cancel()
            crew.check()

    async def _watch(self, consumer: GroupConsumer, crew: Crew) -> None:
        """Notice what goes wrong with the group while no pipeline reads."""
        try:
            while True:
                await consumer.getmany(_NOWHERE, timeout_ms=_WATCH_MS)
                self._outage.ended()
        except KafkaError as error:
            crew.fail(error)
        except ConsumerStopped:
            return

    def _delivery(self, consumer: GroupConsumer) -> Delivery:
        options = self._options
        own = (options.topics.responses, options.topics.dead_letters)
        if options.delivery is DeliveryGuarantee.EXACTLY_ONCE:
            return ExactlyOnce(self._connection, self._destinations, options, own)
        commits = Commits(consumer, interval_seconds=options.commit_interval_seconds)
        return AtLeastOnce(self._connection, self._destinations, commits, own)

    def _consumer_options(self) -> dict[str, Any]:
        options = self._options
        session_ms = round(options.session_timeout_seconds * 1000)
        rebalance_seconds = options.drain_timeout_seconds + _REBALANCE_MARGIN_SECONDS
        return {
            "group_id": options.group,
            "client_id": f"headrace-{options.node}",
            "enable_auto_commit": False,
            # Each pipeline seeks explicitly; an offset that is gone is an error to be told.
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "session_timeout_ms": session_ms,
            # How soon a member learns of a rebalance, and so how long one takes.
            "heartbeat_interval_ms": min(1000, session_ms // 4),
            # Letting go of partitions must fit in, or the group goes on without us.
            "rebalance_timeout_ms": round(rebalance_seconds * 1000),
            # A new topic that the pattern matches, or more partitions, are noticed this soon.
            "metadata_max_age_ms": 5_000,
            "max_partition_fetch_bytes": 2 * 2**20,
            # aiokafka has one fetch at a time under way: partitions that want one wait so long.
            "fetch_max_wait_ms": 100,
        }


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of them returns; the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(wait) for wait in waits]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
