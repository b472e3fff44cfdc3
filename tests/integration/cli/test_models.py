"""`headrace models` on a real status topic."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import heartbeat_key, status_key
from headrace.publisher.topics import ensure_topics
from headrace.schemas import codec
from headrace.schemas.records import (
    ModelVersion,
    NodeStatus,
    ServableState,
    ServableStatus,
    version_key,
)
from headrace.schemas.topics import Topics, specs
from tests.integration.cli.programs import headrace

Report = Callable[..., Awaitable[None]]


@pytest.fixture
async def report(bootstrap_servers: str, unique_name: str) -> AsyncGenerator[Report, None]:
    """Lets a node of this test say a state of a version, or, without one, send a heartbeat."""
    connection = KafkaConnection(bootstrap_servers)
    await ensure_topics(connection, specs(Topics()))
    incarnation = time.time_ns()
    async with connection.producer() as producer:

        async def say(
            node: str,
            state: ServableState | None = None,
            version: int = 1,
            error: str | None = None,
        ) -> None:
            name = f"{unique_name}-{node}"
            servable = None
            if state is not None:
                servable = ServableStatus(
                    model=unique_name, version=version, state=state, control_offset=9, error=error
                )
            status = NodeStatus(
                node=name,
                incarnation=incarnation,
                at_ms=time.time_ns() // 1_000_000,
                control_offset=10,
                is_ready=True,
                servable=servable,
            )
            key = status_key(name, unique_name, version) if state else heartbeat_key(name)
            value = codec.encode(status)
            await (await producer.send(Topics().status, value=value, key=key, partition=0))

        yield say
        for node in "ab":
            name = f"{unique_name}-{node}"
            await (await producer.send(Topics().status, key=heartbeat_key(name), partition=0))


async def test_lists_what_every_node_serves(
    bootstrap_servers: str, unique_name: str, report: Report
) -> None:
    """One object per version and node, as scripts rely on."""
    await report("a")
    await report("a", ServableState.AVAILABLE)
    await report("a", ServableState.END, version=2, error="no such file")
    await report("b", ServableState.LOADING)
    ended = await headrace(
        "models", unique_name, "--json", "--bootstrap-servers", bootstrap_servers
    )
    assert ended.code == 0
    rows = json.loads(ended.out)
    assert rows[0] == {
        "model": unique_name,
        "version": 2,
        "state": "END",
        "node": f"{unique_name}-a",
        "error": "no such file",
        "control_offset": 9,
        "node_is_live": True,
    }
    assert [(row["version"], row["state"], row["node_is_live"]) for row in rows[1:]] == [
        (1, "AVAILABLE", True),
        (1, "LOADING", False),
    ]
    shown = await headrace("models", unique_name, HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers)
    assert shown.code == 0
    assert "no such file" in shown.out
    assert f"node {unique_name}-a: live, ready" in shown.out


async def test_an_unknown_model_is_an_empty_list(
    bootstrap_servers: str, unique_name: str, report: Report
) -> None:
    """Nobody serves it: that is an answer, not a failure."""
    await report("a")
    ended = await headrace(
        "models", unique_name, "--json", HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers
    )
    assert (ended.code, json.loads(ended.out)) == (0, [])


async def test_all_adds_published_versions_that_nobody_serves(
    bootstrap_servers: str, unique_name: str, report: Report
) -> None:
    """They come from the control log, with state null."""
    await report("a", ServableState.AVAILABLE)
    async with KafkaConnection(bootstrap_servers).producer() as producer:
        for version in (1, 2):
            record = ModelVersion(
                model=unique_name, version=version, uri="u", digest="sha256:ab", size_bytes=1
            )
            key, value = version_key(unique_name, version), codec.encode(record)
            await (await producer.send(Topics().control, value=value, key=key, partition=0))
    arguments = ("models", unique_name, "--json")
    plain = await headrace(*arguments, HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers)
    assert [row["version"] for row in json.loads(plain.out)] == [1]
    ended = await headrace(*arguments, "--all", HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers)
    rows = json.loads(ended.out)
    assert [(row["version"], row["state"], row["node"]) for row in rows] == [
        (1, "AVAILABLE", f"{unique_name}-a"),
        (2, None, None),
    ]


async def test_watch_follows_the_fleet_until_interrupted(
    bootstrap_servers: str, unique_name: str, report: Report
) -> None:
    """A line when it begins, a line when something changes, and 130 after Ctrl-C."""
    await report("a", ServableState.LOADING)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", "models", unique_name, "--watch", "--json"),
        *("--bootstrap-servers", bootstrap_servers),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            first = json.loads(await process.stdout.readline())
            assert [row["state"] for row in first] == ["LOADING"]
            await report("a", ServableState.AVAILABLE)
            second = json.loads(await process.stdout.readline())
            assert [row["state"] for row in second] == ["AVAILABLE"]
            process.send_signal(signal.SIGINT)
            _out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in err
