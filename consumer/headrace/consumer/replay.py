"""Answers past requests with a version of choice: the composition root of a replay.

    control log → version, request topic → range → job, zygotes → loader → door

A process of its own that takes part in nothing: it is in no consumer group that nodes are in, says
nothing on the status topic, and writes to its output topic only. What runs is what nodes run, from
the artefact cache to the transactions.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.choice import Serving
from headrace.consumer.core.errors import ReplayRefused
from headrace.consumer.core.plan import ControlEvent, Plan, PlannedModel, PlannedVersion, fold
from headrace.consumer.core.servable import Servable
from headrace.consumer.parts import open_intake, worker_options
from headrace.consumer.settings import Settings
from headrace.consumer.stream.clients import TopicPartition
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.replay_door import ReplayDoor
from headrace.consumer.stream.replay_job import ReplayJob, begin, job_group
from headrace.consumer.stream.replaying import PastRequests, Tally, limited
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.gate import Gate, is_validated
from headrace.publisher.history import read_control
from headrace.publisher.ranges import Bound, Edge, Span, resolve
from headrace.publisher.spans import span_reader
from headrace.publisher.topics import ensure_topics, partition_counts, require_topics
from headrace.schemas.errors import WireError
from headrace.schemas.records import Batching
from headrace.schemas.topics import TopicSpec

# Less than a door's: nobody waits for these answers, and a hung call holds what is behind it.
_MAX_IN_FLIGHT_RECORDS: Final = 4000
_TRANSACTION_INTERVAL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What is to be replayed.

    Attributes:
        job: a name; a job that is started again with it goes on where it was.
        model: whose requests.
        version: which version answers them.
        topic: where the requests are.
        output_topic: where the answers go.
        since: where the range begins.
        until: where it ends.
        limit: how many requests at most, spread evenly over the partitions; None for all.
    """

    job: str
    model: str
    version: int
    topic: str
    output_topic: str
    since: Bound = Edge.BEGINNING
    until: Bound = Edge.END
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What one run of a replay has done; `seconds` without loading the version."""

    tally: Tally
    seconds: float
    is_resumed: bool


class Watch(Protocol):
    """Hears how a replay gets on. **Concurrency:** called on the event loop; must not block."""

    def begun(self, job: ReplayJob) -> None:
        """Hear what is to be done."""
        ...

    def loaded(self, seconds: float) -> None:
        """Hear that the version is ready to answer."""
        ...

    def progressed(self, tally: Tally) -> None:
        """Hear what is done; the tally is the replay's own, and goes on changing."""
        ...


async def run(settings: Settings, options: ReplayOptions, watch: Watch) -> Replayed:
    """Answer the range, to its end.

    Raises:
        ReplayRefused: there is no such version, the output topic cannot be one, or the job's name
            belongs to another replay.
        LoadError: the version cannot be loaded, or its workers keep dying.
        PublisherError: Kafka cannot be reached, or a topic does not exist.

    Cancellation: what is not committed is answered when the job is started again.
    """
    gc.set_threshold(100_000, 50, 100)  # as in a node, for the same reason
    connection = settings.kafka_connection
    _check_output(settings, options)
    planned, batching = await _find_version(connection, settings, options)
    async with open_intake(settings, options.output_topic) as intake:
        job = await _begin(connection, options, intake)
        watch.begun(job)
        source = PastRequests(options.model, job.spans, intake.models, watch.progressed)
        seconds = 0.0
        if source.tally.total:
            told = _stream_options(settings, options)
            async with _loaded(settings, planned, batching, watch) as serving:
                began = time.monotonic()
                await ReplayDoor(connection, serving, source, intake, told).run()
                seconds = time.monotonic() - began
    return Replayed(tally=source.tally, seconds=seconds, is_resumed=job.is_resumed)


@asynccontextmanager
async def _loaded(
    settings: Settings, planned: PlannedVersion, batching: Batching, watch: Watch
) -> AsyncGenerator[Serving, None]:
    """Load the version; when no worker of it lives any more, the block ends with that error."""
    cache = ArtifactCache(settings.cache_dir, settings.cache_max_bytes, settings.max_artifact_bytes)
    workers = worker_options(settings)
    began = time.monotonic()
    async with Zygotes() as zygotes, WorkerLoader(cache, zygotes, workers) as loader:
        servable = await loader.load(planned, batching, yields_cpu=False)
        watch.loaded(time.monotonic() - began)
        async with asyncio.TaskGroup() as tasks:
            breaking = tasks.create_task(_raise_when_broken(servable))
            yield Serving(planned, servable)
            breaking.cancel()


def _check_output(settings: Settings, options: ReplayOptions) -> None:
    """Refuse a topic that nodes or clients of the deployment read."""
    topic, topics = options.output_topic, settings.topics
    own = {
        *(topics.control, topics.status, topics.requests, topics.responses, topics.dead_letters),
        options.topic,
    }
    if topic in own or topic.startswith("__"):
        raise ReplayRefused(
            f"output topic {topic!r} is in use by the deployment: name one that only the answers "
            "of replays go to; it is made if it does not exist"
        )
    if settings.request_pattern and re.match(settings.request_pattern, topic):
        raise ReplayRefused(
            f"output topic {topic!r} matches the request pattern {settings.request_pattern!r}: "
            "nodes would take its answers for requests; name another one"
        )


async def _find_version(
    connection: KafkaConnection, settings: Settings, options: ReplayOptions
) -> tuple[PlannedVersion, Batching]:
    """Return what the control log says of the version, retired or not, and how it is batched."""
    security = settings.event_security
    entries = await read_control(connection, settings.topics, Gate(security.trusted_keys))
    events = [
        ControlEvent(entry.offset, entry.key, entry.record)
        for entry in entries
        if not isinstance(entry.record, WireError)
        and (not security.requires_validation or is_validated(entry.record))
    ]
    model = fold(Plan(), events).models.get(options.model) or PlannedModel(options.model)
    planned = model.versions.get(options.version)
    if planned is None:
        known = ", ".join(map(str, sorted(model.versions))) or "no version at all"
        raise ReplayRefused(
            f"the control log has no version {options.version} of model {options.model!r}; "
            f"it has {known}: see 'headrace history {options.model}'"
        )
    return planned, model.config.batching if model.config else Batching()


async def _begin(connection: KafkaConnection, options: ReplayOptions, intake: Intake) -> ReplayJob:
    """Make the output topic if need be, and begin the job, or find what is left of it."""
    width = (await require_topics(connection, [options.topic]))[options.topic]
    if not await partition_counts(connection, [options.output_topic]):
        await ensure_topics(connection, [TopicSpec(name=options.output_topic, partitions=width)])

    async def find_range() -> Mapping[TopicPartition, Span]:
        async with span_reader(connection) as reader:
            spans = await resolve(reader, options.topic, width, options.since, options.until)
            if options.limit is None:
                return spans
            return await limited(reader, spans, intake.models, options.model, options.limit)

    partitions = [TopicPartition(options.topic, number) for number in range(width)]
    purpose = (options.model, str(options.version), options.topic, options.output_topic)
    return await begin(connection, options.job, purpose, partitions, find_range)


async def _raise_when_broken(servable: Servable) -> None:
    raise await servable.wait_broken()


def _stream_options(settings: Settings, options: ReplayOptions) -> StreamOptions:
    group = job_group(options.job)
    return StreamOptions(
        node=group,
        group=group,
        # Unreadable requests were never the model's, and have had their dead letters.
        topics=replace(settings.topics, responses=options.output_topic, dead_letters=""),
        request_topics=(options.topic,),
        transaction_interval_seconds=_TRANSACTION_INTERVAL_SECONDS,
        max_in_flight_records=_MAX_IN_FLIGHT_RECORDS,
        max_in_flight_bytes=settings.max_in_flight_bytes,
    )
