"""The stage of the rounds: one broker, and whatever answers requests there.

A *subject* is anything that reads requests from one topic and answers on another: nodes of a
deployment, the pass-through, a peer. Every round is one subject's, while the others idle.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.kafka import processor_time
from benchmarks.kafka.payloads import Payloads, correlation_header
from benchmarks.kafka.processor_time import Pids
from benchmarks.kafka.writing import PARTITIONS
from benchmarks.measurement import Bench, BenchmarkError
from headrace.cli.broker import EmbeddedBroker
from headrace.publisher.clients import KafkaError, Message
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import TopicSpec

_GROUP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that answers requests.

    Attributes:
        name: what the results call it.
        requests: the topic it reads.
        responses: the topic it answers on.
        group: its consumer group, if it has one.
        pids: its processes by part, looked up anew for each round.
        check_running: raises BenchmarkError when one has ended.
        check: what is right for an answer, given what was asked.
        headers: what every answer must have besides its correlation id.
        correlation: where the correlation id is.
    """

    name: str
    requests: str
    responses: str
    group: str | None
    pids: Callable[[], Pids]
    check_running: Callable[[], None]
    check: Callable[[Payloads, int, Message], None] = Payloads.check
    headers: frozenset[str] = frozenset()
    correlation: Callable[[Message], bytes] = correlation_header


@dataclass(slots=True)
class Stage:
    """A broker, and the number of the next round."""

    bench: Bench
    connection: KafkaConnection
    broker_pid: int
    runs: int = 0

    def next_run(self) -> int:
        """Return a number that no round has had."""
        self.runs += 1
        return self.runs

    def pids(self, subject: Subject) -> dict[str, list[int]]:
        """Return the processes that take part in a subject's round; `watch` is this one."""
        common = {"broker": [self.broker_pid], "watch": [os.getpid()]}
        return processor_time.joined([common, subject.pids()])

    async def topics(self, *names: str) -> None:
        """Create topics of requests or answers."""
        wanted = [TopicSpec(name=name, partitions=PARTITIONS) for name in names]
        await ensure_topics(self.connection, wanted)

    async def wait_shared(self, group: str, members: int) -> None:
        """Return once a group has so many members and each of them has its partitions.

        Raises:
            BenchmarkError: that did not come about in a minute.
        """
        try:
            async with asyncio.timeout(_GROUP_SECONDS), self.connection.admin() as opened:
                admin: Any = opened
                # The group tells nobody when it is complete.
                while not await _is_stable(admin, group, members):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise BenchmarkError(f"group {group} has not got {members} members") from None


@asynccontextmanager
async def staged(bench: Bench) -> AsyncGenerator[Stage, None]:
    """Run a broker made for load."""
    async with EmbeddedBroker(profile="fast") as kafka:
        yield Stage(bench, KafkaConnection(kafka.bootstrap_servers), kafka.pid)


async def _is_stable(admin: Any, group: str, members: int) -> bool:  # noqa: ANN401 - raw answers
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except KafkaError:
        # Its coordinator begins to exist with the first group.
        return False
    _, _, state, _, _, found, *_ = answer.groups[0]
    return state == "Stable" and len(found) >= members
