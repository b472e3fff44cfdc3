"""What is done to a run, drawn at random from a seed, and how each of it is done.

Every fault ends by itself and leaves things as they were: what was killed is started again, what
was frozen goes on, who joined has left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final, cast

from headrace.consumer.stream.clients import (
    GroupConsumer,
    KafkaError,
    RebalanceListener,
    TopicPartition,
)
from headrace.publisher.errors import PublisherError
from tests.chaos.evidence import Kind
from tests.chaos.fleet import Member
from tests.chaos.load import MODEL
from tests.chaos.stage import SESSION_SECONDS, Stage
from tests.chaos.versions import COUNT

POISON: Final = (Kind.GARBAGE, Kind.NAMELESS, Kind.EMPTY, Kind.CUT, Kind.MISTYPED)
_GUEST_SECONDS: Final = 15.0


class Fault(StrEnum):
    """What can happen."""

    NODE_KILLED = "node killed"
    WORKER_KILLED = "worker killed"
    BROKER_KILLED = "broker killed"
    NODE_FROZEN = "node frozen"
    BROKER_FROZEN = "broker frozen"
    NODE_JOINED = "node joined and left"
    GROUP_SHAKEN = "group shaken"
    POISON_WRITTEN = "poison written"
    DEADLY_WRITTEN = "deadly request written"
    VERSION_SWAPPED = "version swapped"


@dataclass(frozen=True, slots=True)
class Draw:
    """One fault as it was drawn: which, how long to wait before it, and two chances in [0, 1)."""

    fault: Fault
    pause_seconds: float
    which: float
    how_long: float

    def pick(self, members: list[Member]) -> Member:
        """Return one of the nodes."""
        return members[int(self.which * len(members))]

    def seconds(self, low: float, high: float) -> float:
        """Return a duration between two bounds."""
        return low + self.how_long * (high - low)


def draws(seed: int) -> Iterator[Draw]:
    """Return the faults of a seed, without end: every kind once, in some order, and again."""
    chance = random.Random(seed)
    while True:
        for fault in chance.sample(list(Fault), len(Fault)):
            yield Draw(fault, chance.uniform(1, 4), chance.random(), chance.random())


async def strike(stage: Stage, draw: Draw) -> bool:
    """Do what was drawn and return when it is over; False when there is nothing to do it to now.

    Raises:
        AssertionError: what was killed did not come back.
    """
    words = await _STRIKES[draw.fault](stage, draw)
    return words is not None


async def _kill_node(stage: Stage, draw: Draw) -> str | None:
    members = stage.fleet.steady()
    if len(members) < 2:
        return None
    name = draw.pick(members).name
    stage.log.note(f"kills {name}")
    await stage.fleet.kill(name)
    await asyncio.sleep(draw.seconds(0, 2))
    await stage.fleet.start(name)
    stage.log.note(f"{name} is back")
    return name


async def _kill_worker(stage: Stage, draw: Draw) -> str | None:
    members = stage.fleet.steady()
    start = int(draw.which * len(members))
    for member in members[start:] + members[:start]:
        if worker := stage.fleet.kill_worker(member, MODEL):
            stage.log.note(f"killed {worker} of {member.name}")
            return worker
    return None


async def _kill_broker(stage: Stage, draw: Draw) -> str | None:
    if stage.broker.is_busy:
        return None
    stage.log.note("kills the broker")
    await stage.broker.kill(down_seconds=draw.seconds(0, 3))
    stage.log.note("the broker is back")
    return "broker"


async def _freeze_node(stage: Stage, draw: Draw) -> str | None:
    members = stage.fleet.steady()
    if len(members) < 2:
        return None
    name = draw.pick(members).name
    async with stage.fleet.frozen(name):
        stage.log.note(f"froze {name}")
        await asyncio.sleep(SESSION_SECONDS * draw.seconds(1.4, 2.2))
        stage.log.note(f"thaws {name}")
    return name


async def _freeze_broker(stage: Stage, draw: Draw) -> str | None:
    if stage.broker.is_busy:
        return None
    stage.log.note("freezes the broker")
    await stage.broker.freeze(seconds=draw.seconds(2, 5))
    stage.log.note("thawed the broker")
    return "broker"


_visitors = count(1)


async def _join_and_leave(stage: Stage, draw: Draw) -> str | None:
    name = f"visitor-{next(_visitors)}"
    stage.log.note(f"starts {name}")
    await stage.fleet.start(name, is_visitor=True)
    await asyncio.sleep(draw.seconds(1, 4))
    stage.log.note(f"{name} leaves")
    await stage.fleet.leave(name)
    return name


async def _shake_group(stage: Stage, draw: Draw) -> str | None:
    """Members without any work come and go, a rebalance each: faster than nodes can start."""
    stage.log.note("shakes the group")
    for _ in range(4):
        # While Kafka is away nobody can join it.
        with suppress(KafkaError, PublisherError, TimeoutError):
            async with asyncio.timeout(_GUEST_SECONDS):
                await _visit_group(stage, draw.seconds(0.1, 0.6))
    stage.log.note("shook the group")
    return "group"


class _Arrival(RebalanceListener):
    """Notes when the first partitions are assigned."""

    def __init__(self) -> None:
        self.came = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let them go: nothing was done with them."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note that there are some."""
        if any(assigned):
            self.came.set()


async def _visit_group(stage: Stage, seconds: float) -> None:
    session_ms = round(SESSION_SECONDS * 1000)
    async with stage.site.connection.consumer(
        group_id=stage.site.name,
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 8,
    ) as opened:
        consumer = cast("GroupConsumer", opened)
        arrival = _Arrival()
        consumer.subscribe([stage.site.topics.requests], listener=arrival)
        await arrival.came.wait()
        # It holds partitions, and answers nothing.
        await asyncio.sleep(seconds)


async def _write_poison(stage: Stage, draw: Draw) -> str | None:
    kinds = list(POISON) * (1 + int(draw.how_long * 3))
    random.Random(draw.which).shuffle(kinds)
    stage.log.note(f"writes {len(kinds)} poisonous requests")
    stage.load.also(kinds)
    return "poison"


async def _write_deadly(stage: Stage, _draw: Draw) -> str | None:
    stage.log.note("writes a deadly request")
    stage.load.also([Kind.DEADLY])
    return "deadly"


async def _swap_version(stage: Stage, _draw: Draw) -> str | None:
    if stage.version == COUNT:
        return None
    stage.log.note(f"publishes version {stage.version + 1}")
    version = await stage.swap()
    stage.log.note(f"published version {version}")
    return str(version)


_STRIKES: Final[Mapping[Fault, Callable[[Stage, Draw], Awaitable[str | None]]]] = {
    Fault.NODE_KILLED: _kill_node,
    Fault.WORKER_KILLED: _kill_worker,
    Fault.BROKER_KILLED: _kill_broker,
    Fault.NODE_FROZEN: _freeze_node,
    Fault.BROKER_FROZEN: _freeze_broker,
    Fault.NODE_JOINED: _join_and_leave,
    Fault.GROUP_SHAKEN: _shake_group,
    Fault.POISON_WRITTEN: _write_poison,
    Fault.DEADLY_WRITTEN: _write_deadly,
    Fault.VERSION_SWAPPED: _swap_version,
}
