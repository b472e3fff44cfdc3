"""Publishers that sign, on a real Kafka: what they write counts, and forgeries do not mislead."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from headrace.publisher import (
    EventSecurity,
    KafkaConnection,
    LogConflict,
    ModelPublisher,
    NotTrusted,
    SyncModelPublisher,
)
from headrace.publisher import control_log as control_log_module
from headrace.publisher.configuration import ConfigChange
from headrace.publisher.control_log import ControlLog
from headrace.publisher.gate import Gate
from headrace.publisher.history import ControlEntry, latest, read_control
from headrace.publisher.signing import SigningKey
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.errors import Distrust, EventRefused
from headrace.schemas.records import ModelConfig, ModelVersion, config_key, version_key
from headrace.schemas.topics import Topics, specs
from tests.fakes.saved_models import write_saved_model
from tests.fakes.signed_records import trusting

OURS, THEIRS, STRANGER = (SigningKey.generate() for _ in range(3))
TRUSTED = trusting((OURS, "*"), (THEIRS, "ranker"))
OUR_SECURITY = EventSecurity(signing_key=OURS, trusted_keys=TRUSTED)
THEIR_SECURITY = EventSecurity(signing_key=THEIRS, trusted_keys=TRUSTED)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that a publisher takes."""
    return write_saved_model(tmp_path / "model")


@pytest.fixture
def signing(connection: KafkaConnection, topics: Topics, tmp_path: Path) -> ModelPublisher:
    """A publisher that signs and believes signed events only."""
    store = str(tmp_path / "store")
    return ModelPublisher(connection, topics=topics, store=store, security=OUR_SECURITY)


async def history(connection: KafkaConnection, topics: Topics) -> list[ControlEntry]:
    """Return the log as readers see it that trust both keys."""
    return await read_control(connection, topics, Gate(TRUSTED))


def refusals(entries: list[ControlEntry]) -> list[Distrust]:
    """Return why entries were refused, in order."""
    return [entry.record.reason for entry in entries if isinstance(entry.record, EventRefused)]


async def forge(
    connection: KafkaConnection,
    topics: Topics,
    key: bytes,
    value: bytes | None,
    headers: list[tuple[str, bytes]] | None = None,
) -> None:
    """Write a record as somebody with access to the topic can."""
    await ensure_topics(connection, specs(topics))
    async with connection.producer() as producer:
        sent = await producer.send(
            topics.control, key=key, value=value, partition=0, headers=headers or []
        )
        await sent


async def test_everything_that_is_written_is_signed(
    signing: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """Versions, configurations and tombstones, each with the next generation of the model."""
    await signing.publish("ranker", 1, model)
    await signing.publish("other", 1, model)
    await signing.configure(ConfigChange(model="ranker", labels={"stable": 1}))
    await signing.retire("ranker", 1, force=True)
    await signing.forget("ranker")
    entries = await history(connection, topics)
    assert refusals(entries) == []
    assert [(entry.key.decode(), entry.generation, entry.signed_by) for entry in entries] == [
        ("version/ranker/1", 1, OURS.id),
        ("version/other/1", 1, OURS.id),
        ("model/ranker", 2, OURS.id),
        ("version/ranker/1", 3, OURS.id),
        ("version/ranker/1", 4, OURS.id),
        ("model/ranker", 5, OURS.id),
    ]
    assert latest(entries).keys() == {b"version/other/1"}


def test_blocking_publisher_signs(
    connection: KafkaConnection, topics: Topics, tmp_path: Path, model: Path
) -> None:
    """The same for programs without an event loop."""
    store = str(tmp_path / "store")
    with SyncModelPublisher(
        connection, topics=topics, store=store, security=OUR_SECURITY
    ) as publisher:
        publisher.publish("ranker", 1, model)
    entries = asyncio.run(history(connection, topics))
    assert [entry.signed_by for entry in entries] == [OURS.id]


async def test_overtaken_event_is_signed_anew(connection: KafkaConnection, topics: Topics) -> None:
    """Two publishers that have read the same log both get their event into the plan."""
    ours = ControlLog(connection, topics, create_topics=True, security=OUR_SECURITY)
    theirs = ControlLog(connection, topics, create_topics=True, security=THEIR_SECURITY)
    await asyncio.gather(ours.read(), theirs.read())
    key = config_key("ranker")
    with capture_logs() as logs:
        first = await theirs.append(key, ModelConfig(model="ranker", replicas=2), 20)
        second = await ours.append(key, ModelConfig(model="ranker", replicas=3), 20)
    entries = await history(connection, topics)
    assert refusals(entries) == [Distrust.REPLAYED]
    assert [entry.offset for entry in entries if not isinstance(entry.record, EventRefused)] == [
        first,
        second,
    ]
    again = [entry for entry in logs if entry["event"] == "control_event.signed_again"]
    assert [(entry["reason"], entry["offset"]) for entry in again] == [("overtaken", first + 1)]


async def test_publishers_at_once_all_succeed(connection: KafkaConnection, topics: Topics) -> None:
    """Each event that a call returned the offset of counts."""
    logs = [
        ControlLog(connection, topics, create_topics=True, security=security)
        for security in (OUR_SECURITY, THEIR_SECURITY)
    ]
    await asyncio.gather(*(log.read() for log in logs))

    async def write(log: ControlLog, replicas: int) -> list[int]:
        record = ModelConfig(model="ranker", replicas=replicas)
        return [await log.append(config_key("ranker"), record, 20) for _ in range(6)]

    written = await asyncio.gather(*(write(log, n) for n, log in enumerate(logs, 1)))
    offsets = [offset for each in written for offset in each]
    entries = {entry.offset: entry for entry in await history(connection, topics)}
    assert [
        entries[at].record for at in offsets if isinstance(entries[at].record, EventRefused)
    ] == []
    assert len(set(offsets)) == 12


async def test_event_of_a_clock_that_is_behind_is_signed_anew(
    connection: KafkaConnection, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the broker's clock, which is the one that counts."""
    log = ControlLog(connection, topics, create_topics=True, security=OUR_SECURITY)
    monkeypatch.setattr(control_log_module, "time", SimpleNamespace(time_ns=lambda: 10**18))
    offset = await log.append(config_key("ranker"), ModelConfig(model="ranker"), 20)
    entries = await history(connection, topics)
    assert refusals(entries) == [Distrust.STALE]
    assert entries[-1].offset == offset
    assert entries[-1].record == ModelConfig(model="ranker")


async def test_topic_that_keeps_its_writers_clocks_is_told(
    connection: KafkaConnection, topics: Topics
) -> None:
    """A topic from before signed events must be changed first."""
    spec = next(spec for spec in specs(topics) if spec.name == topics.control)
    old = {**spec.configs, "message.timestamp.type": "CreateTime"}
    await ensure_topics(connection, [replace(spec, configs=old)])
    log = ControlLog(connection, topics, create_topics=True, security=OUR_SECURITY)
    with pytest.raises(NotTrusted, match=r"message\.timestamp\.type=LogAppendTime"):
        await log.append(config_key("ranker"), ModelConfig(model="ranker"), 20)
    assert refusals(await history(connection, topics)) == [Distrust.UNTIMED]


async def test_forgeries_do_not_mislead_a_publisher(
    signing: ModelPublisher, connection: KafkaConnection, topics: Topics, model: Path
) -> None:
    """Neither numbers nor configurations nor generations that nobody trusted wrote count."""
    await signing.publish("ranker", 1, model)
    await signing.configure(ConfigChange(model="ranker", labels={"stable": 1}))
    forged = ModelVersion(
        model="ranker", version=99, uri="file:///evil", digest="sha256:" + "0" * 64, size_bytes=1
    )
    key, value = version_key("ranker", 99), encode(forged)
    await forge(connection, topics, key, value)
    huge = STRANGER.sign(key, value, generation=2**63 - 1, not_after_ms=2**62)
    await forge(connection, topics, key, value, huge)
    await forge(connection, topics, config_key("ranker"), None)
    assert (await signing.publish("ranker", None, model)).version == 2
    config = await signing.config("ranker")
    assert config
    assert config.labels == {"stable": 1}
    entries = await history(connection, topics)
    assert refusals(entries) == [Distrust.UNSIGNED, Distrust.UNKNOWN_KEY, Distrust.UNSIGNED]
    assert entries[-1].generation == 3


async def test_used_up_generations_are_told(connection: KafkaConnection, topics: Topics) -> None:
    """Whoever believes everybody is told how not to."""
    key, value = config_key("ranker"), encode(ModelConfig(model="ranker"))
    huge = STRANGER.sign(key, value, generation=2**63 - 1, not_after_ms=2**62)
    await forge(connection, topics, key, value, huge)
    believing = EventSecurity(signing_key=OURS)
    log = ControlLog(connection, topics, create_topics=True, security=believing)
    with pytest.raises(LogConflict, match=r"are used up: .*--trusted-keys"):
        await log.append(key, ModelConfig(model="ranker"), 20)
    trusting_log = ControlLog(connection, topics, create_topics=True, security=OUR_SECURITY)
    await trusting_log.append(key, ModelConfig(model="ranker"), 20)


async def test_nothing_is_written_that_the_fleet_would_refuse(
    connection: KafkaConnection, topics: Topics, tmp_path: Path, model: Path
) -> None:
    """A key for other models, and no key: told before anything is stored or written."""
    store = tmp_path / "store"
    for security in (THEIR_SECURITY, EventSecurity(trusted_keys=TRUSTED)):
        publisher = ModelPublisher(connection, topics=topics, store=str(store), security=security)
        with pytest.raises(NotTrusted):
            await publisher.publish("spam", 1, model)
        with pytest.raises(NotTrusted):
            await publisher.configure(ModelConfig(model="spam"))
    assert not store.exists()
    await ensure_topics(connection, specs(topics))
    assert await history(connection, topics) == []


async def test_unsigned_log_is_signed_anew(
    connection: KafkaConnection, topics: Topics, tmp_path: Path, model: Path
) -> None:
    """Afterwards readers with trusted keys find what readers without found before."""
    store = str(tmp_path / "store")
    plain = ModelPublisher(connection, topics=topics, store=store)
    await plain.publish("ranker", 1, model)
    await plain.publish("spam", 2, model)
    await plain.configure(ConfigChange(model="ranker", labels={"stable": 1}))
    await plain.retire("spam", 2)
    before = latest(await read_control(connection, topics))
    assert latest(await history(connection, topics)) == {}
    signing = ModelPublisher(connection, topics=topics, security=EventSecurity(signing_key=OURS))
    assert await signing.resign() == ("version/ranker/1", "model/ranker", "version/spam/2")
    after = latest(await history(connection, topics))
    assert {key: entry.record for key, entry in after.items()} == {
        key: entry.record for key, entry in before.items()
    }
    assert await signing.resign("spam") == ("version/spam/2",)


async def test_key_is_replaced(connection: KafkaConnection, topics: Topics) -> None:
    """What the old key signed is signed by the new one; then the old one may go."""
    ours = ModelPublisher(connection, topics=topics, security=OUR_SECURITY)
    theirs = ModelPublisher(connection, topics=topics, security=THEIR_SECURITY)
    await ours.configure(ModelConfig(model="ranker", replicas=2))
    await forge(connection, topics, config_key("spam"), encode(ModelConfig(model="spam")))
    assert await theirs.resign() == ("model/ranker",)
    only_theirs = await read_control(connection, topics, Gate(trusting((THEIRS, "ranker"))))
    assert [entry.signed_by for entry in only_theirs] == ["", "", THEIRS.id]
    assert only_theirs[-1].record == ModelConfig(model="ranker", replicas=2)
