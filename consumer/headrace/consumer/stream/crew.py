"""The pipelines of the partitions that are ours now: opened and closed as the group says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from headrace.consumer.stream.clients import (
    ConsumerStopped,
    KafkaError,
    RebalanceListener,
    TopicPartition,
)
from headrace.consumer.stream.pipeline import Pipeline, Works
from headrace.publisher.cancellation import strays_as_errors

_LOG: Final = structlog.get_logger(__name__)
_COMMIT_SECONDS: Final = 3.0
_DISMISS_SECONDS: Final = 2.0


class Crew(RebalanceListener):
    """Runs one pipeline per assigned partition, in the task group of a session.

    **Concurrency:** event loop only. aiokafka calls the listener's methods from a task of its own,
    and swallows what they raise.
    """

    def __init__(self, works: Works, tasks: asyncio.TaskGroup) -> None:
        self._works = works
        self._tasks = tasks
        self._pipelines: dict[TopicPartition, Pipeline] = {}
        # Also those that were let go; bounded by the partitions of the topics.
        self._latest: dict[TopicPartition, Pipeline] = {}
        self._is_closed = False
        self._running: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[KafkaError] = asyncio.get_running_loop().create_future()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let go of partitions: finish what is in flight, bounded, and commit it."""
        await self._let_go([p for tp in revoked if (p := self._pipelines.pop(tp, None))])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start on partitions."""
        if self._is_closed:
            return
        for partition in assigned:
            pipeline = Pipeline(
                partition, self._works, self._share_bytes, self._latest.get(partition)
            )
            self._pipelines[partition] = self._latest[partition] = pipeline
            name = f"pipeline {partition.topic}/{partition.partition}"
            task = self._tasks.create_task(self._run(pipeline), name=name)
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Let go of all partitions, and of those that still come."""
        self._is_closed = True
        pipelines = list(self._pipelines.values())
        self._pipelines.clear()
        await self._let_go(pipelines)

    async def dismiss(self) -> None:
        """End what is left of closed pipelines, once the consumer is stopped."""
        if self._running:
            await asyncio.wait(self._running, timeout=_DISMISS_SECONDS)
        for task in self._running:
            # It waits for an assignment that will not come any more.
            task.cancel()

    def fail(self, error: KafkaError) -> None:
        """Note that the session cannot go on."""
        if not self._failed.done():
            self._failed.set_result(error)

    async def wait_failed(self) -> None:
        """Return when the session cannot go on."""
        await asyncio.wait([self._failed])

    def check(self) -> None:
        """Raise the error that ended the session, if one did."""
        if self._failed.done():
            raise self._failed.result()

    async def _let_go(self, pipelines: list[Pipeline]) -> None:
        """Stop pipelines.

        It does not wait for their tasks to end: one that is inside getmany comes out of it only
        when the rebalance, which waits for us, is over.
        """
        if not pipelines:
            return
        for pipeline in pipelines:
            pipeline.stop()
        seconds = self._works.options.drain_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                for pipeline in pipelines:
                    await pipeline.wait_drained()
        except TimeoutError:
            _LOG.warning("partitions.abandoned", drain_timeout_seconds=seconds)
            for pipeline in pipelines:
                pipeline.abandon()
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await self._works.delivery.flush([pipeline.partition for pipeline in pipelines])
        except TimeoutError:
            _LOG.warning("offsets.commit_failed", reason="Kafka did not answer in time")

    def _share_bytes(self) -> float:
        """Return what one partition may have in flight of what all may have."""
        return self._works.options.max_in_flight_bytes / max(1, len(self._pipelines))

    async def _run(self, pipeline: Pipeline) -> None:
        """Run one pipeline; a Kafka error ends the session, unless the partition is gone."""
        try:
            with strays_as_errors():
                await pipeline.run()
        except* (KafkaError, TimeoutError, ConsumerStopped) as errors:
            if self._pipelines.get(pipeline.partition) is pipeline:
                self.fail(_first(errors))


def _first(errors: BaseExceptionGroup[Exception]) -> KafkaError:
    """Return the first error in a group, as one of Kafka's."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        inner: tuple[BaseException, ...] = error.exceptions
        error = inner[0]
    return error if isinstance(error, KafkaError) else KafkaError(str(error) or repr(error))
