"""`headrace replay` on a real deployment: past requests, answered by another version."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from headrace.publisher import ConfigChange, KafkaConnection
from headrace.publisher.clients import Message
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from headrace.schemas.topics import TopicSpec, specs
from tests.e2e.rig import Site, deployment
from tests.fakes.correspondent import Ask, correspondent, headers_of
from tests.integration.cli.programs import Ended, headrace
from tests.models import model

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own, with two partitions for requests and responses."""
    site = Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)
    await ensure_topics(site.connection, specs(site.topics, request_partitions=2))
    return site


def environment(site: Site) -> dict[str, str]:
    """Return the variables by which tools find the deployment."""
    return {
        "HEADRACE_BOOTSTRAP_SERVERS": site.connection.bootstrap_servers,
        "HEADRACE_CONTROL_TOPIC": site.topics.control,
        "HEADRACE_STATUS_TOPIC": site.topics.status,
        "HEADRACE_REQUEST_TOPIC": site.topics.requests,
        "HEADRACE_RESPONSE_TOPIC": site.topics.responses,
        "HEADRACE_DEAD_LETTER_TOPIC": site.topics.dead_letters,
        "HEADRACE_CACHE_DIR": str(site.folder / "replay-cache"),
    }


async def replay(site: Site, *arguments: str, version: int = 2) -> Ended:
    """Run a replay of model m into the topic `<site>.replayed`."""
    fixed = ("--model", "m", "--version", str(version), "--output-topic", f"{site.name}.replayed")
    return await headrace("replay", *fixed, *arguments, **environment(site))


def asks(count: int, *, start: int = 0, name: str = "m", version: int | None = None) -> list[Ask]:
    """Return numbered requests for half the number plus two, over two partitions."""
    return [
        Ask(
            value=encode(
                InferenceRequest(
                    model=name,
                    version=version,
                    inputs=(to_tensor("x", np.array([[number]], np.float32)),),
                )
            ),
            key=b"k%d" % number,
            partition=number % 2,
            headers=[("correlation-id", b"%d" % number)],
        )
        for number in range(start, start + count)
    ]


def number_in(message: Message) -> float:
    """Return the one number that was answered."""
    response = decode(message.value or b"", InferenceResponse)
    return float(from_tensor(response.outputs[0])[0, 0])


def places(messages: Sequence[Message]) -> Counter[bytes]:
    """Return how often each request was answered."""
    return Counter(headers_of(message)["replay-of"] for message in messages)


async def test_answers_the_past_with_a_retired_version_and_says_where_it_differs(
    site: Site,
) -> None:
    """200 requests that version 1 answered, with strangers between them, go to version 2."""
    mine = f"{site.name}.mine"
    await ensure_topics(site.connection, [TopicSpec(name=mine, partitions=1)])
    async with (
        deployment(site) as (_, publisher),
        correspondent(site.connection) as client,
    ):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        past = [("deadline-ms", b"9999999999999"), ("reply-topic", mine.encode())]
        first, second, last = asks(100), asks(90, start=100), asks(10, start=190, version=1)
        named = [dataclasses.replace(ask, headers=[*ask.headers, *past]) for ask in last]
        strangers = [Ask(value=b"garbage"), *asks(3, start=900, name="nobody")]
        await client.ask(site.topics.requests, [*first, *strangers, *second, *named])
        await client.read(site.topics.responses, 193)
        await client.read(mine, 10)
        await publisher.publish("m", 2, model("half_plus_drift"))
        await publisher.retire("m", 2)
        ended = await replay(site, "--job", "first", "--diff", "--json", "--show", "3")
        assert ended.code == 0, ended.err
        *differences, summary = [json.loads(line) for line in ended.out.splitlines()]
        assert summary["answered"] == 200
        assert (summary["errors"], summary["other_models"], summary["unreadable"]) == (0, 3, 1)
        assert summary["diff"] == {
            "same": 100,
            "within_tolerance": 0,
            "different": 100,
            "error_then": 0,
            "error_now": 0,
            "not_found": 0,
            "without_correlation_id": 0,
            "versions_then": {"1": 200},
            "missing_topics": [],
        }
        assert [each["outputs"][0]["absolute"] for each in differences] == [0.25] * 3
        answers = await client.read(f"{site.name}.replayed", 200)
        assert set(places(answers).values()) == {1}
        for message in answers:
            headers = headers_of(message)
            number = int(headers["correlation-id"])
            assert number_in(message) == 0.5 * number + 2 + 0.25 * (number >= 100)
            assert message.key == b"k%d" % number
            assert headers["version"] == b"2"
            assert "deadline-ms" not in headers
        letters = await client.read(site.topics.dead_letters, 2, seconds=1)
        assert len(letters) == 1
        again = await replay(
            site, "--job", "first", "--diff", "--tolerance", "0.001", "--fail-on-diff"
        )
        assert again.code == 1
        assert "job first has nothing left to answer" in again.out
        assert "100 different" in again.out
        assert f"{site.topics.requests}/" in again.out
        assert len(await client.read(f"{site.name}.replayed", 201, seconds=1)) == 200


async def test_killed_replay_goes_on_and_answers_each_request_once(site: Site) -> None:
    """SIGKILL between two transactions; the same job answers what is left, in order."""
    total = 4000
    async with site.publisher() as publisher, correspondent(site.connection) as client:
        await publisher.publish("m", 2, model("half_plus_drift"))
        await publisher.configure(ConfigChange(model="m", max_batch_rows=1))
        await client.ask(site.topics.requests, asks(total))
        output, job = f"{site.name}.replayed", ("--job", "long")
        await ensure_topics(site.connection, [TopicSpec(name=output, partitions=2)])
        kept = {name: value for name, value in os.environ.items() if name[:9] != "HEADRACE_"}
        fixed = ("replay", "--model", "m", "--version", "2", "--output-topic", output, *job)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace.cli", *fixed),
            env=kept | environment(site),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            before = await client.read(output, 1, seconds=60)
        finally:
            process.kill()
            await process.wait()
        assert 0 < len(before) < total
        # A later request is not in the range that the job was begun with.
        await client.ask(site.topics.requests, asks(2, start=total))
        ended = await replay(site, *job)
        assert ended.code == 0, ended.err
        assert "goes on in the range that it was begun with" in ended.err
        answers = await client.read(output, total + 1, seconds=2)
    assert process.returncode == -signal.SIGKILL
    assert set(places(answers).values()) == {1}
    for partition in (0, 1):
        ids = [int(headers_of(m)["correlation-id"]) for m in answers if m.partition == partition]
        assert ids == list(range(partition, total, 2))
