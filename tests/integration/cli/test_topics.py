"""`headrace topics` on a real broker."""

from __future__ import annotations

import json

from headrace.cli.topic_audit import audit
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, TopicSpec, specs
from tests.integration.cli.programs import headrace


async def test_creates_the_topics_and_finds_them_right(bootstrap_servers: str) -> None:
    """After `create`, whoever created them, `list` has no fault to tell."""
    created = await headrace("topics", "create", "--bootstrap-servers", bootstrap_servers)
    assert created.code == 0
    assert created.err == ""
    names = [spec.name for spec in specs(Topics())]
    assert [line.split(":")[0] for line in created.out.splitlines()] == names
    again = await headrace(
        "topics", "create", "--json", HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers
    )
    assert json.loads(again.out) == {"created": []}
    listed = await headrace(
        "topics", "list", "--json", HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers
    )
    rows = json.loads(listed.out)
    assert [row["name"] for row in rows] == names
    assert all(row["is_right"] for row in rows)
    assert rows[0] == {
        "name": "headrace.control",
        "partitions": 1,
        "replication_factor": 1,
        "faults": [],
        "is_right": True,
    }


async def test_finds_what_is_missing_and_what_is_wrong(
    bootstrap_servers: str, topic_prefix: str
) -> None:
    """A topic that is missing, has too many partitions, or is not compacted, says so."""
    connection = KafkaConnection(bootstrap_servers)
    wanted = [
        TopicSpec(name=f"{topic_prefix}absent", partitions=1),
        TopicSpec(name=f"{topic_prefix}wide", partitions=1),
        TopicSpec(
            name=f"{topic_prefix}deleting", partitions=1, configs={"cleanup.policy": "compact"}
        ),
        TopicSpec(name=f"{topic_prefix}right", partitions=2, configs={"retention.ms": "-1"}),
    ]
    existing = [
        TopicSpec(name=wanted[1].name, partitions=3),
        TopicSpec(name=wanted[2].name, partitions=1),
        wanted[3],
    ]
    await ensure_topics(connection, existing)
    found = await audit(connection, wanted)
    assert [finding.faults for finding in found] == [
        ("does not exist: create it with 'headrace topics create'",),
        ("has 3 partitions and must have 1",),
        ("cleanup.policy is delete and should be compact",),
        (),
    ]
    assert [finding.partitions for finding in found] == [0, 3, 1, 2]
