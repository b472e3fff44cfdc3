"""The rounds of the Kafka benchmarks on a real broker, and that they can fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.kafka import rounds
from benchmarks.kafka.passthrough import passing_through
from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.stage import Stage, Subject
from benchmarks.kafka.watching import Watch, watching
from benchmarks.kafka.writing import Requests, backlog, producing, write
from benchmarks.measurement import Bench, BenchmarkError
from headrace.publisher.connection import KafkaConnection

COUNT = 400
PAYLOADS = Payloads.of(["m"], (3,))


@pytest.fixture
def stage(bootstrap_servers: str, tmp_path: Path) -> Stage:
    """A stage on the tests' broker; who counts as the broker does not matter here."""
    bench = Bench(folder=tmp_path, is_quick=True, tell=lambda _: None)
    return Stage(bench, KafkaConnection(bootstrap_servers), os.getpid())


def answering(name: str) -> Subject:
    """Return a subject that answers with what the test itself writes."""
    return Subject(name, f"{name}.in", name, None, dict, lambda: None, check=Payloads.check_same)


def requests(topic: str, run: int, values: Sequence[bytes] = PAYLOADS.values) -> Requests:
    """Return the requests of a round."""
    return Requests(topic=topic, run=run, values=values, count=COUNT)


async def test_a_backlog_appears_all_at_once(stage: Stage, unique_name: str) -> None:
    """No read_committed reader sees a request before the release, and then every one."""
    await stage.topics(unique_name)
    async with watching(stage.connection, unique_name) as watch:
        async with backlog(stage.connection, requests(unique_name, 1)) as release:
            assert await watch.answers() == 0
            await release()
            # Markers of the transaction take an offset in each partition that it wrote.
            async with asyncio.timeout(10):
                while await watch.answers() < COUNT:
                    await asyncio.sleep(0)
        expected = rounds.expected(answering(unique_name), PAYLOADS, 1, COUNT)
        await watch.check(expected)


async def test_the_pass_through_answers_both_kinds_of_round(stage: Stage, unique_name: str) -> None:
    """A backlog and a live load are answered, checked, and told in figures."""
    async with passing_through(stage, unique_name, added=(("node", "n"),)) as subject:
        for measure in (rounds.of_backlog, rounds.of_live_load):
            found = await measure(stage, subject, PAYLOADS, COUNT)
            assert found["records"] == COUNT
            assert found["records_per_second"] > 0
            assert found["pass-through_cpu_seconds_per_million"] >= 0


async def test_a_subject_that_ended_is_told_at_once(stage: Stage, unique_name: str) -> None:
    """Its last words are the error, not half a minute of silence."""
    async with passing_through(stage, unique_name) as subject:
        (pid,) = subject.pids()["pass-through"]
        os.kill(pid, 9)
        with pytest.raises(BenchmarkError, match="ended by itself"):
            await rounds.of_backlog(stage, subject, PAYLOADS, COUNT)


async def answered(stage: Stage, watch: Watch, topic: str, *given: Requests) -> None:
    """Write answers and check them as those of round 1."""
    async with producing(stage.connection) as producer:
        for each in given:
            await write(producer, each)
    await watch.check(rounds.expected(answering(topic), PAYLOADS, 1, COUNT))


async def test_answers_that_are_not_as_they_should_be_fail_the_round(
    stage: Stage, unique_name: str
) -> None:
    """Missing, double, foreign and changed answers, and missing headers, are each found."""
    await stage.topics(unique_name)
    right = requests(unique_name, 1)
    few = Requests(topic=unique_name, run=1, values=PAYLOADS.values, count=COUNT - 1)
    changed = requests(unique_name, 1, PAYLOADS.values[1:])
    async with watching(stage.connection, unique_name) as watch:
        await answered(stage, watch, unique_name, right)
        for given, fault in (
            ([few], f"1 of {COUNT} requests have no answer"),
            ([right, few], "was answered twice"),
            ([requests(unique_name, 2)], "nobody asked in this round"),
            ([changed], "came back changed"),
        ):
            await watch.reset()
            with pytest.raises(BenchmarkError, match=fault):
                await answered(stage, watch, unique_name, *given)
