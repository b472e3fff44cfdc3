"""What a replay refuses before it loads anything, and what it remembers of a job."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.consumer.core.errors import ArtifactMissing, ReplayRefused
from headrace.consumer.replay import Replayed, ReplayOptions, run
from headrace.consumer.settings import Settings
from headrace.consumer.stream.claims import Claims
from headrace.consumer.stream.clients import TopicPartition
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.replay_job import ReplayJob, begin
from headrace.consumer.stream.replaying import Tally, limited
from headrace.publisher import KafkaConnection, ModelPublisher
from headrace.publisher.ranges import Edge, Span
from headrace.publisher.spans import span_reader
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import to_tensor
from headrace.schemas.topics import Topics, specs
from tests.fakes.correspondent import Ask, correspondent
from tests.models import model


class Watcher:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.jobs: list[ReplayJob] = []
        self.load_seconds: list[float] = []

    def begun(self, job: ReplayJob) -> None:
        """Hear what is to be done."""
        self.jobs.append(job)

    def loaded(self, seconds: float) -> None:
        """Hear that the version is ready."""
        self.load_seconds.append(seconds)

    def progressed(self, tally: Tally) -> None:
        """Hear what is done."""


@pytest.fixture
async def settings(bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Settings:
    """A deployment with version 2 of model m, and one request for it."""
    topics = Topics(
        control=f"{topic_prefix}control",
        status=f"{topic_prefix}status",
        requests=f"{topic_prefix}requests",
        responses=f"{topic_prefix}responses",
        dead_letters=f"{topic_prefix}dead-letters",
    )
    connection = KafkaConnection(bootstrap_servers)
    await ensure_topics(connection, specs(topics, request_partitions=2))
    store = (tmp_path / "store").as_uri()
    async with (
        ModelPublisher(connection, topics=topics, store=store) as publisher,
        correspondent(connection) as client,
    ):
        await publisher.publish("m", 2, model("half_plus_two"))
        await client.ask(topics.requests, [Ask(model="m")])
    names = {
        "control-topic": topics.control,
        "status-topic": topics.status,
        "request-topic": topics.requests,
        "response-topic": topics.responses,
        "dead-letter-topic": topics.dead_letters,
        "bootstrap-servers": bootstrap_servers,
        "cache-dir": str(tmp_path / "cache"),
    }
    return Settings.from_arguments([f"--{name}={value}" for name, value in names.items()])


@pytest.fixture
def options(settings: Settings, unique_name: str) -> ReplayOptions:
    """A replay of everything."""
    return ReplayOptions(
        job=unique_name,
        model="m",
        version=2,
        topic=settings.topics.requests,
        output_topic=f"{unique_name}.replayed",
    )


async def test_a_version_that_the_log_does_not_know_is_refused(
    settings: Settings, options: ReplayOptions
) -> None:
    """The message names those it knows."""
    with pytest.raises(ReplayRefused, match="no version 7 of model 'm'; it has 2"):
        await run(settings, replace(options, version=7), Watcher())
    with pytest.raises(ReplayRefused, match="of model 'n'; it has no version at all"):
        await run(settings, replace(options, model="n"), Watcher())


async def test_topics_of_the_deployment_take_no_answers_of_a_replay(
    settings: Settings, options: ReplayOptions
) -> None:
    """Neither requests nor answers, nor what is replayed."""
    topics = settings.topics
    for topic in (topics.requests, topics.responses, topics.dead_letters, "__transaction_state"):
        with pytest.raises(ReplayRefused, match="in use by the deployment"):
            await run(settings, replace(options, output_topic=topic), Watcher())
    elsewhere = replace(options, topic="other", output_topic="other")
    with pytest.raises(ReplayRefused, match="in use by the deployment"):
        await run(settings, elsewhere, Watcher())


async def test_a_topic_that_the_fleets_pattern_matches_takes_no_answers_either(
    settings: Settings, options: ReplayOptions
) -> None:
    """Nodes would take the answers for requests."""
    patterned = settings.model_copy(update={"request_pattern": r".*\.replayed"})
    with pytest.raises(ReplayRefused, match="nodes would take its answers for requests"):
        await run(patterned, options, Watcher())


async def test_an_empty_range_is_done_at_once(settings: Settings, options: ReplayOptions) -> None:
    """Nothing is loaded."""
    watcher = Watcher()
    replayed: Replayed = await run(settings, replace(options, since=Edge.END), watcher)
    assert (replayed.tally, watcher.load_seconds) == (Tally(), [])


async def test_a_version_whose_artefact_is_gone_ends_the_replay(
    settings: Settings, options: ReplayOptions, tmp_path: Path
) -> None:
    """The error is the one that a node would report."""
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(ExceptionGroup) as caught:
        await run(settings, options, Watcher())
    assert caught.group_contains(ArtifactMissing)


async def test_a_job_remembers_its_range_and_what_it_is_for(
    settings: Settings, unique_name: str
) -> None:
    """The range is asked for once; the same name for something else is refused."""
    connection = KafkaConnection(settings.bootstrap_servers)
    partitions = [TopicPartition(settings.topics.requests, number) for number in range(2)]
    asked: list[int] = []

    async def find_range() -> dict[TopicPartition, Span]:
        asked.append(1)
        return {partitions[0]: Span(0, 1)}

    for is_resumed in (False, True):
        job = await begin(connection, unique_name, ("m", "2"), partitions, find_range)
        assert job == ReplayJob({partitions[0]: Span(0, 1)}, is_resumed)
    assert asked == [1]
    with pytest.raises(ReplayRefused, match="begun for another model, version or topic"):
        await begin(connection, unique_name, ("m", "3"), partitions, find_range)


async def test_a_limit_is_spread_over_the_partitions(settings: Settings) -> None:
    """What one partition lacks, the next may give; other models' requests do not count."""
    connection, topic = KafkaConnection(settings.bootstrap_servers), settings.topics.requests
    async with correspondent(connection) as client:
        tensor = to_tensor("x", np.zeros(1, np.float32))
        mine, other = (encode(InferenceRequest(model=m, inputs=(tensor,))) for m in ("m", "n"))
        values = [other, mine, mine, other, mine, mine, mine, mine]
        await client.ask(topic, [Ask(value=value, partition=1) for value in values])
    first, second = (TopicPartition(topic, number) for number in range(2))
    spans = {first: Span(0, 1), second: Span(0, 8)}
    models = Intake(None, Claims((), 1), "replayed", 1).models
    async with span_reader(connection) as reader:
        assert await limited(reader, spans, models, "m", 1) == {
            first: Span(0, 1),
            second: Span(0, 0),
        }
        assert await limited(reader, spans, models, "m", 4) == {
            first: Span(0, 1),
            second: Span(0, 5),
        }
        assert await limited(reader, spans, models, "m", 99) == spans
