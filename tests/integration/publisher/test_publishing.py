"""Publishing, retiring, configuring and forgetting on a real log."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.publisher import (
    BrokerUnreachable,
    ConfigChange,
    InvalidArgument,
    InvalidModel,
    KafkaConnection,
    ModelPublisher,
    PublisherError,
    StillPublished,
    StillUsed,
    StoreError,
    SyncModelPublisher,
    TopicMismatch,
    UnknownVersion,
    VersionConflict,
)
from headrace.publisher.history import read_control
from headrace.publisher.progress import Appended, Hashed, Progress, Stored
from headrace.publisher.topics import ensure_topics, partition_counts
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.manifest import scan
from headrace.schemas.records import (
    Cohort,
    Earlier,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    VersionPolicy,
    version_key,
)
from headrace.schemas.topics import Topics, TopicSpec, specs
from tests.fakes.saved_models import write_saved_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "model")


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "other", content="other bytes")


async def last_record(connection: KafkaConnection, topics: Topics) -> object:
    """Return the last record of the control log."""
    return (await read_control(connection, topics))[-1].record


def stored_manifest(uri: str) -> bytes:
    """Return the manifest of an artefact in a local store."""
    return Path(uri.removeprefix("file://"), "manifest.json").read_bytes()


async def test_an_event_tells_all_of_the_version(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """What a node needs to fetch, verify and serve the model is in the record."""
    reports: list[Progress] = []
    published = await publisher.publish(
        "ranker", 42, model, metadata={"loss": "0.1"}, on_progress=reports.append
    )
    record = await last_record(connection, topics)
    assert isinstance(record, ModelVersion)
    manifest = scan(model)
    assert (record.model, record.version, record.digest) == ("ranker", 42, manifest.digest)
    assert (record.size_bytes, record.signatures) == (manifest.size_bytes, ("serving_default",))
    assert record.lifecycle is Lifecycle.PUBLISHED
    assert record.metadata == {"loss": "0.1"}
    assert record.uri == published.uri
    assert stored_manifest(record.uri) == manifest.to_json()
    kinds = [type(report) for report in reports]
    assert {Hashed, Stored} < set(kinds)
    assert reports[-1] == Appended(control_offset=published.control_offset)


async def test_versions_count_up_when_none_is_given(
    publisher: ModelPublisher, model: Path, other_model: Path
) -> None:
    """A continuous trainer need not know the last number, also when calls overlap."""
    first = await publisher.publish("ranker", 7, model)
    rest = await asyncio.gather(*(publisher.publish("ranker", None, other_model) for _ in range(8)))
    assert first.version == 7
    assert sorted(published.version for published in rest) == list(range(8, 16))


async def test_the_same_bytes_may_be_published_again(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """A pipeline that repeats itself, and a retired version brought back."""
    first = await publisher.publish("ranker", 1, model)
    await publisher.retire("ranker", 1)
    record = await last_record(connection, topics)
    assert isinstance(record, ModelVersion)
    assert record.lifecycle is Lifecycle.RETIRED
    again = await publisher.publish("ranker", 1, model)
    assert (again.digest, again.uri) == (first.digest, first.uri)
    assert again.control_offset > first.control_offset


async def test_record_is_written_again_without_the_bytes(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """What was retired comes back as it was; what the log does not know does not."""
    await publisher.publish("ranker", 1, model, metadata={"run": "7"})
    published = await last_record(connection, topics)
    await publisher.retire("ranker", 1)
    offset = await publisher.republish("ranker", 1)
    assert await last_record(connection, topics) == published
    assert await publisher.republish("ranker", 1) == offset + 1
    with pytest.raises(UnknownVersion, match=r"known: 1"):
        await publisher.republish("ranker", 2)


async def test_other_bytes_are_refused_until_the_number_is_forgotten(
    publisher: ModelPublisher,
    connection: KafkaConnection,
    topics: Topics,
    model: Path,
    other_model: Path,
) -> None:
    """A version number always means the same bytes."""
    await publisher.publish("ranker", 1, model)
    await publisher.retire("ranker", 1)
    written = len(await read_control(connection, topics))
    with pytest.raises(VersionConflict, match="headrace forget ranker 1"):
        await publisher.publish("ranker", 1, other_model)
    assert len(await read_control(connection, topics)) == written
    await publisher.forget("ranker", 1)
    published = await publisher.publish("ranker", 1, other_model)
    assert published.digest == scan(other_model).digest


@pytest.mark.parametrize("version", [0, -1, 2**63])
async def test_refuses_numbers_that_cannot_be(
    publisher: ModelPublisher, model: Path, version: int
) -> None:
    """Versions are positive int64."""
    with pytest.raises(InvalidArgument, match=f"version {version} is not allowed"):
        await publisher.publish("ranker", version, model)


@pytest.mark.parametrize("name", ["a/b", "a b", "", "x" * 300, "-x", "ä"])
async def test_refuses_names_that_cannot_be(
    publisher: ModelPublisher, model: Path, name: str
) -> None:
    """Names are part of keys, topics, paths and metrics."""
    for refused in (
        publisher.publish(name, 1, model),
        publisher.retire(name, 1),
        publisher.configure(ConfigChange(model=name)),
        publisher.config(name),
        publisher.forget(name),
    ):
        with pytest.raises(InvalidArgument, match=r"model name .* is not allowed"):
            await refused


async def test_bad_models_leave_no_trace(
    publisher: ModelPublisher,
    connection: KafkaConnection,
    topics: Topics,
    model: Path,
    tmp_path: Path,
) -> None:
    """Validation comes first: neither the store nor the log sees what cannot be served."""
    (model / "variables" / "variables.data-00000-of-00001").unlink()
    truncated = write_saved_model(tmp_path / "truncated")
    graph = truncated / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-1])
    (tmp_path / "empty").mkdir()
    for path in (model, truncated, tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InvalidModel):
            await publisher.publish("ranker", 1, path)
    assert not (tmp_path / "store").exists()
    with pytest.raises(TopicMismatch, match="missing topic"):
        await read_control(connection, topics)


async def test_refuses_links_in_words(publisher: ModelPublisher, model: Path) -> None:
    """A link would publish what lies somewhere else, or nothing."""
    (model / "assets").symlink_to("/etc")
    with pytest.raises(InvalidModel, match="symbolic link"):
        await publisher.publish("ranker", 1, model)


async def test_no_event_without_its_files(
    connection: KafkaConnection, topics: Topics, model: Path, tmp_path: Path
) -> None:
    """When the store cannot be written, nothing is announced."""
    (tmp_path / "file").write_text("not a folder")
    async with ModelPublisher(
        connection, topics=topics, store=str(tmp_path / "file" / "store")
    ) as publisher:
        with pytest.raises(StoreError, match="cannot write to the artefact store"):
            await publisher.publish("ranker", 1, model)
    assert await read_control(connection, topics) == []


async def test_says_that_no_broker_is_there(topics: Topics, model: Path) -> None:
    """Within the time given, with the address and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        connection = KafkaConnection(f"127.0.0.1:{taken.getsockname()[1]}", 0.5)
        async with ModelPublisher(connection, topics=topics) as publisher:
            with pytest.raises(BrokerUnreachable, match=r"cannot reach Kafka at 127.0.0.1:\d+"):
                await publisher.publish("ranker", 1, model)


async def test_says_that_something_else_is_there(topics: Topics, model: Path) -> None:
    """A port that accepts and stays silent does not hang the publisher."""
    accepted: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with ModelPublisher(KafkaConnection(f"127.0.0.1:{port}", 0.5)) as publisher:
            with pytest.raises(BrokerUnreachable, match=r"within 0.5 s"):
                await publisher.publish("ranker", 1, model)
        for writer in accepted:
            writer.close()
    assert accepted


async def test_names_missing_topics_when_it_may_not_create_them(
    connection: KafkaConnection, topics: Topics, model: Path, tmp_path: Path
) -> None:
    """Operators who create topics themselves are told which are missing, and none appears."""
    async with ModelPublisher(
        connection, topics=topics, store=str(tmp_path / "s"), create_topics=False
    ) as publisher:
        with pytest.raises(TopicMismatch, match=f"missing topics.*{topics.control}.*topics create"):
            await publisher.publish("ranker", 1, model)
    assert await partition_counts(connection, [topics.control, topics.status]) == {}


async def test_topics_are_created_once_by_many(connection: KafkaConnection, topics: Topics) -> None:
    """Nodes and publishers start together and all make sure that the topics are there."""
    wanted = specs(topics, request_partitions=3)
    created = await asyncio.gather(*(ensure_topics(connection, wanted) for _ in range(8)))
    assert sorted(name for names in created for name in names) == sorted(s.name for s in wanted)
    counts = await partition_counts(connection, [spec.name for spec in wanted])
    assert counts == {spec.name: spec.partitions for spec in wanted}


async def test_refuses_a_control_topic_in_several_partitions(
    connection: KafkaConnection, topics: Topics
) -> None:
    """Its order is its meaning, and several partitions have none."""
    await ensure_topics(connection, [TopicSpec(name=topics.control, partitions=2)])
    with pytest.raises(TopicMismatch, match="has 2 partitions and must have exactly 1"):
        await ensure_topics(connection, specs(topics))


async def test_tells_what_the_broker_says_of_a_topic(
    connection: KafkaConnection, topics: Topics
) -> None:
    """An error that comes back in the response is not taken for success."""
    bad = TopicSpec(name=topics.control, partitions=1, configs={"cleanup.policy": "sometimes"})
    with pytest.raises(PublisherError, match=r"would not create topic .*cleanup.policy"):
        await ensure_topics(connection, [bad])


async def test_retires_only_what_exists(publisher: ModelPublisher, model: Path) -> None:
    """A typing error does not make a record."""
    await publisher.publish("ranker", 3, model)
    with pytest.raises(UnknownVersion, match=r"known: 3"):
        await publisher.retire("ranker", 4)


async def test_configuration_is_changed_field_by_field(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """Each change builds on the last one in the log, whoever wrote it."""
    assert await publisher.config("ranker") is None
    await publisher.publish("ranker", 3, model)
    await publisher.configure(ConfigChange(model="ranker", labels={"stable": 3}))
    policy = VersionPolicy(kind=PolicyKind.ALL)
    await publisher.configure(ConfigChange(model="ranker", policy=policy, split={"stable": 1}))
    first = Earlier(versions=(3,))
    labelled = replace(first, labels={"stable": 3})
    expected = ModelConfig(
        model="ranker",
        policy=policy,
        labels={"stable": 3},
        split={"stable": 1},
        cohorts=(Cohort(arm="stable", buckets=10_000),),
        previous=(first, labelled),
    )
    assert await publisher.config("ranker") == expected
    written = len(await read_control(connection, topics))
    with pytest.raises(InvalidArgument, match="add up to 0"):
        await publisher.configure(ConfigChange(model="ranker", split={"stable": 0}))
    assert len(await read_control(connection, topics)) == written
    await publisher.configure(ModelConfig(model="ranker"))
    routed = replace(labelled, policy=policy, split={"stable": 1}, cohorts=expected.cohorts)
    plain = ModelConfig(model="ranker", previous=(first, labelled, routed))
    assert await publisher.config("ranker") == plain


async def test_forgets_versions_and_models(publisher: ModelPublisher, model: Path) -> None:
    """What is published stays unless forced."""
    await publisher.publish("ranker", 1, model)
    await publisher.publish("ranker", 2, model)
    await publisher.configure(ConfigChange(model="ranker", labels={"stable": 1}))
    with pytest.raises(StillPublished):
        await publisher.forget("ranker", 1)
    with pytest.raises(StillUsed, match=r"in use by its label 'stable': change that"):
        await publisher.retire("ranker", 1)
    await publisher.retire("ranker", 1, force=True)
    assert (await publisher.forget("ranker", 1)).keys == ("version/ranker/1",)
    gone = await publisher.forget("ranker", force=True)
    assert gone.keys == ("version/ranker/2", "model/ranker")
    with pytest.raises(UnknownVersion):
        await publisher.forget("ranker")


async def test_a_spoilt_log_does_not_stop_publishing(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """Garbage and records of other kinds are shown as such, and skipped."""
    await publisher.publish("ranker", 1, model)
    config = codec.encode(ModelConfig(model="ranker"))
    async with connection.producer() as producer:
        for key, value in (
            (version_key("ranker", 1), b"garbage"),
            (version_key("ranker", 9), config),
            (b"what/is/this", config),
        ):
            await (await producer.send(topics.control, key=key, value=value, partition=0))
    entries = await read_control(connection, topics)
    assert [isinstance(entry.record, WireError) for entry in entries] == [False, True, True, True]
    assert (await publisher.publish("ranker", None, model)).version == 2


def test_publishes_from_a_program_without_a_loop(
    connection: KafkaConnection, topics: Topics, model: Path, tmp_path: Path
) -> None:
    """The blocking twin does the same."""
    with SyncModelPublisher(connection, topics=topics, store=str(tmp_path / "s")) as publisher:
        assert publisher.publish("ranker", None, model).version == 1
        assert (
            publisher.configure(ConfigChange(model="ranker", labels={"a": 1})).control_offset == 1
        )
        config = publisher.config("ranker")
        assert config
        assert config.labels == {"a": 1}
        assert publisher.retire("ranker", 1, force=True).control_offset == 2
        assert publisher.forget("ranker").keys == ("version/ranker/1", "model/ranker")
