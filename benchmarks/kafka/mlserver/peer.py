"""MLServer's Kafka server, answering in turn with the others on the same broker.

Its requests are Open Inference JSON; the model's name travels in a header, the correlation id as
the record's key. It has no consumer group and begins at the end of its topic, so it must be there
before the first request is.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import proc, venvs
from benchmarks.children import running_program
from benchmarks.kafka.mlserver import settings
from benchmarks.kafka.payloads import Payloads, check_values, correlation_id
from benchmarks.kafka.processor_time import ProcessorTime
from benchmarks.kafka.rounds import expected, figures
from benchmarks.kafka.stage import Stage, Subject
from benchmarks.kafka.watching import Watch, watching
from benchmarks.kafka.writing import PARTITIONS, Requests, producing, write
from benchmarks.measurement import BenchmarkError, Json
from headrace.publisher.clients import Message

NAME: Final = "MLServer"
_TOPICS: Final = ("mlserver.requests", "mlserver.responses")
_FIRST_REQUESTS: Final = 500
_READY_SECONDS: Final = 60.0
_PROBE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 3.0
_GRACE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured, and of what; or why it was not."""

    runs: Sequence[Json]
    about: Json


async def measured(stage: Stage, payloads: Payloads, rounds: int, seconds: float) -> Found:
    """Measure MLServer; when it cannot be had here, say so and go on without it."""
    version = venvs.pinned(settings.REQUIREMENTS, "mlserver")
    about: Json = {"version": version}
    runs: list[Json] = []
    stage.bench.tell(f"MLServer {version} (installed into the cache the first time)")
    try:
        folder = await venvs.installed("mlserver", settings.REQUIREMENTS)
        async with _serving(stage, folder / "bin" / "mlserver") as subject:
            first = await _round(stage, subject, payloads, _FIRST_REQUESTS)
            count = max(_FIRST_REQUESTS, round(first["records_per_second"] * seconds))
            while len(runs) < rounds:
                runs.append(await _round(stage, subject, payloads, count))
                rate, lost = (runs[-1][name] for name in ("records_per_second", "lost"))
                stage.bench.tell(f"round {len(runs)}: {NAME} {rate:,} records/s, {lost:,} lost")
    except BenchmarkError as error:
        stage.bench.tell(f"{NAME}: {error}")
        if len(runs) < rounds:
            return Found([], about | {"not_measured": str(error)})
    return Found(runs, about)


async def _round(stage: Stage, subject: Subject, payloads: Payloads, count: int) -> Json:
    """Measure from the first request to the last answer; writing takes milliseconds.

    It commits nothing and promises nothing; should it lose requests, what it answered counts.
    """
    requests = _requests(payloads, stage.next_run(), count)
    async with (
        watching(stage.connection, subject.responses) as watch,
        producing(stage.connection) as producer,
    ):
        clock = ProcessorTime(stage.pids(subject))
        began = time.time()
        await write(producer, requests)
        ended = await watch.wait_quiet(subject, count, _QUIET_SECONDS)
        used = clock.used()
        answered = await watch.read(expected(subject, payloads, requests.run, count))
    if not answered:
        raise BenchmarkError(f"none of {count} requests was answered")
    found = figures(subject, len(requests.values[0]), answered, ended - began, used)
    return found | {"lost": count - answered}


def _requests(payloads: Payloads, run: int, count: int) -> Requests:
    """Return the same questions as JSON; the id of each comes back as its answer's key."""
    values: list[bytes] = []
    for number in range(count):
        x = payloads.vectors[number % len(payloads.vectors)]
        tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
        asked = {"id": correlation_id(run, number).decode(), "inputs": [tensor]}
        values.append(json.dumps(asked).encode())
    headers = (("mlserver-model", settings.MODEL.encode()),)
    return Requests(topic=_TOPICS[0], run=run, values=values, count=count, headers=headers)


def _check(payloads: Payloads, number: int, answer: Message) -> None:
    (output,) = json.loads(answer.value or b"{}")["outputs"]
    # Its codec says [3, 1] of an array of three.
    found = np.array(output["data"], np.float32)
    check_values(number, found, payloads.expected(number).ravel())


@asynccontextmanager
async def _serving(stage: Stage, program: Path) -> AsyncGenerator[Subject, None]:
    """Run MLServer; it answers from every partition when the context begins."""
    await stage.topics(*_TOPICS)
    folder, servers = stage.bench.folder / "mlserver", stage.connection.bootstrap_servers
    await asyncio.to_thread(
        settings.write,
        folder,
        {
            "kafka_enabled": True,
            "kafka_servers": servers,
            "kafka_topic_input": _TOPICS[0],
            "kafka_topic_output": _TOPICS[1],
        },
    )
    command = [str(program), "start", str(folder)]
    async with running_program(
        "mlserver", command, stage.bench.folder, grace_seconds=_GRACE_SECONDS
    ) as child:
        subject = Subject(
            NAME,
            *_TOPICS,
            None,
            lambda: {"MLServer": proc.tree(child.pid)},
            child.check_running,
            check=_check,
            correlation=lambda answer: answer.key or b"",
        )
        await _wait_ready(stage, subject)
        yield subject


async def _wait_ready(stage: Stage, subject: Subject) -> None:
    """Ask once in each partition until all are answered.

    Raises:
        BenchmarkError: it ended, or does not answer in time.
    """
    deadline = time.monotonic() + _READY_SECONDS
    payloads = Payloads.of([settings.MODEL], (3,))
    async with (
        watching(stage.connection, subject.responses) as watch,
        producing(stage.connection) as producer,
    ):
        while time.monotonic() < deadline:
            subject.check_running()
            await watch.reset()
            await write(producer, _requests(payloads, stage.next_run(), PARTITIONS))
            if await _answers(watch, PARTITIONS):
                return
    raise BenchmarkError(f"it does not answer over Kafka after {_READY_SECONDS:g} s")


async def _answers(watch: Watch, count: int) -> bool:
    deadline = time.monotonic() + _PROBE_SECONDS
    while await watch.answers() < count:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True
