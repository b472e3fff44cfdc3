"""`headrace history` on a real control log."""

from __future__ import annotations

import json

import pytest

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas import codec
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    config_key,
    version_key,
)
from headrace.schemas.topics import Topics, specs
from tests.integration.cli.programs import headrace


@pytest.fixture
async def model(bootstrap_servers: str, unique_name: str) -> str:
    """A model with a past: published, configured, garbled, retired, forgotten."""
    connection = KafkaConnection(bootstrap_servers)
    await ensure_topics(connection, specs(Topics()))

    def version(number: int, lifecycle: Lifecycle = Lifecycle.PUBLISHED) -> bytes:
        return codec.encode(
            ModelVersion(
                model=unique_name,
                version=number,
                uri=f"file:///store/{number}",
                digest="sha256:" + "ab" * 32,
                size_bytes=1,
                lifecycle=lifecycle,
                publisher="me@here",
            )
        )

    config = ModelConfig(model=unique_name, labels={"stable": 1})
    records = [
        (version_key(unique_name, 1), version(1)),
        (config_key(unique_name), codec.encode(config)),
        (version_key(unique_name, 2), b"no record at all"),
        (version_key(unique_name, 1), version(1, Lifecycle.RETIRED)),
        (version_key(unique_name, 2), None),
    ]
    async with connection.producer() as producer:
        for key, value in records:
            await (await producer.send(Topics().control, value=value, key=key, partition=0))
    return unique_name


async def test_tells_the_past_of_a_model(bootstrap_servers: str, model: str) -> None:
    """Every record of the model, in order, also the one that nobody can read."""
    ended = await headrace("history", model, "--json", "--bootstrap-servers", bootstrap_servers)
    assert ended.code == 0
    rows = json.loads(ended.out)
    assert [(row["what"], row["version"]) for row in rows] == [
        ("published", 1),
        ("configured", None),
        ("unreadable", 2),
        ("retired", 1),
        ("forgotten", 2),
    ]
    assert [row["offset"] for row in rows] == sorted(row["offset"] for row in rows)
    assert rows[0]["digest"] == "sha256:" + "ab" * 32
    assert rows[0]["publisher"] == "me@here"
    assert rows[1]["details"] == "labels none → stable=1"


async def test_prints_a_table_and_the_note_on_compaction(
    bootstrap_servers: str, model: str
) -> None:
    """Results go to standard output, the note to standard error."""
    ended = await headrace("history", model, HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers)
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 6
    assert ended.err.startswith("The log is compacted")


async def test_a_model_without_a_past_is_no_failure(
    bootstrap_servers: str, unique_name: str
) -> None:
    """A list of nothing is a list."""
    await ensure_topics(KafkaConnection(bootstrap_servers), specs(Topics()))
    ended = await headrace("history", unique_name, HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"no events of {unique_name!r} in the control log\n"
    listed = await headrace(
        "history", unique_name, "--json", HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers
    )
    assert json.loads(listed.out) == []
