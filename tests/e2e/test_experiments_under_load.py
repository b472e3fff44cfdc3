"""Experiments, labels, policies and rollbacks under load at every door, on two nodes.

Which versions a request may have had is worked out from the control log afterwards, answer by
answer, as of the record that the answer says it was routed by.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from grpc import aio

from headrace.publisher import ConfigChange, KafkaConnection
from headrace.publisher.fleet import status_reader
from headrace.publisher.history import read_control
from headrace.schemas.records import PolicyKind, VersionPolicy
from tests.e2e.allowed import Answered, Asked, flaws
from tests.e2e.askers import TIMEOUT_SECONDS, Asker, over_grpc, over_kafka, over_rest
from tests.e2e.deploying import Operator, author
from tests.e2e.rig import NodeProcess, Site
from tests.e2e.wishes import History

KEYS: Final = 40
STORM: Final = 12
LATEST, ALL = VersionPolicy(), VersionPolicy(kind=PolicyKind.ALL)

# Time for a machine that does other things besides.
pytestmark = pytest.mark.timeout(240)


def specific(*versions: int) -> VersionPolicy:
    """Return the policy that wants these versions."""
    return VersionPolicy(kind=PolicyKind.SPECIFIC, versions=versions)


def questions() -> list[Asked]:
    """Return what each client asks, over and over: every way to name something, for many keys."""
    asked: list[Asked] = []
    for number in range(KEYS):
        key = b"user-%d" % number
        asked += [Asked("m", affinity=key), Asked("front", affinity=key)]
        label, version = ("stable", "canary")[number % 2], 1
        asked.append(Asked("m", label=label, affinity=key))
        asked.append(Asked("m", version=version, affinity=key))
    return asked


def fresh_questions() -> list[Asked]:
    """Return what is asked besides as of the newest event, whichever that is by then."""
    return [each._replace(min_offset=0) for each in questions()]


@asynccontextmanager
async def two_nodes(site: Site) -> AsyncGenerator[tuple[NodeProcess, ...], None]:
    """Run two nodes of one group."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                site.node(
                    node_id=name,
                    cache_dir=site.folder / f"cache-{name}",
                    default_timeout_seconds=TIMEOUT_SECONDS,
                )
            )
            for name in ("a", "b")
        ]
        for node in nodes:
            await node.ready()
        yield tuple(nodes)


@asynccontextmanager
async def clients(
    site: Site, nodes: tuple[NodeProcess, ...], newest_offset: Callable[[], int]
) -> AsyncGenerator[list[Asker], None]:
    """Open a client of each door."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{await node.port()}"))
            for node in nodes
        ]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        endpoints = [f"127.0.0.1:{await node.port('http')}" for node in nodes]
        stream = await stack.enter_async_context(site.client())
        asks = over_grpc(channels), over_rest(session, endpoints), over_kafka(stream)
        kinds = questions(), fresh_questions()
        yield [Asker(ask, kind, author, newest_offset) for ask in asks for kind in kinds]


async def settle(operator: Operator, askers: list[Asker]) -> None:
    """Return when the nodes have settled, and every client has been answered since."""
    await operator.settle()
    at = operator.settled[-1].at
    for asker in askers:
        await asker.wait_for(lambda answer: answer.sent_at >= at)


async def open_for_business(operator: Operator) -> None:
    """Publish what the clients ask for before there is anything to try."""
    await operator.publish("m", 1)
    await operator.publish("rival", 1)
    labels = {"base": 1, "stable": 1, "canary": 1}
    await operator.configure(ConfigChange(model="m", labels=labels))
    await operator.configure(ConfigChange(model="front", split={"m@stable": 90, "rival": 10}))
    await operator.settle()


async def experiment(operator: Operator, askers: list[Asker]) -> None:
    """Give an arm to a new version, then more; move its label to one that is loading still."""
    await operator.publish("m", 2)
    await operator.configure(ConfigChange(model="m", labels={"canary": 2}))
    await operator.configure(ConfigChange(model="m", split={"stable": 95, "canary": 5}))
    await settle(operator, askers)
    await operator.configure(ConfigChange(model="m", split={"stable": 60, "canary": 40}))
    await settle(operator, askers)
    await operator.publish("m", 3)
    await operator.configure(ConfigChange(model="m", labels={"canary": 3}))
    await settle(operator, askers)
    await operator.configure(ConfigChange(model="m", split={"1": 30, "2": 30, "canary": 40}))
    split = {"rival": 50, "m@canary": 20, "m": 30}
    await operator.configure(ConfigChange(model="front", split=split))
    await settle(operator, askers)


async def roll_back(operator: Operator, askers: list[Asker]) -> None:
    """Let a bad version have everything, then go back, and throw it away."""
    await operator.configure(ConfigChange(model="m", policy=specific(1, 3), split={}))
    await settle(operator, askers)
    await operator.configure(ConfigChange(model="m", policy=LATEST, labels={"stable": 3}))
    await settle(operator, askers)
    await operator.publish("m", 4)
    for asker in askers:
        await asker.wait_for(lambda answer: answer.computed_by == ("m", 4))
    await operator.roll_back("m")
    for asker in askers:
        await asker.wait_for(lambda answer: _is_latest(answer, 3))
    await settle(operator, askers)
    await operator.retire("m", 4)
    await settle(operator, askers)


def _is_latest(answer: Answered, version: int) -> bool:
    return answer.asked.model == "m" and answer.routed_by == "latest" and answer.version == version


async def replace(operator: Operator, askers: list[Asker]) -> None:
    """Replace the other model's version; bring back one of this that has been unloaded."""
    await operator.publish("rival", 2)
    await settle(operator, askers)
    await operator.retire("rival", 1)
    await operator.configure(ConfigChange(model="m", labels={"stable": 2}, policy=LATEST))
    await settle(operator, askers)


async def storm(operator: Operator, chance: random.Random) -> None:
    """Change anything to anything, with no time to settle."""
    await operator.publish("m", 5)
    for _ in range(STORM):
        versions = chance.sample((1, 2, 3, 5), 2)
        arms = chance.sample(("stable", "canary", "1", "3", "5", "rival"), 2)
        fronts = chance.sample(("m", "m@stable", "m@5", "rival", "rival@2"), 2)
        first = chance.randrange(1, 100)
        weights = first, 100 - first
        change = chance.choice(
            [
                ConfigChange(model="m", labels={chance.choice(("stable", "canary")): versions[0]}),
                ConfigChange(model="m", policy=chance.choice((LATEST, ALL, specific(*versions)))),
                ConfigChange(model="m", split=dict(zip(arms, weights, strict=True))),
                ConfigChange(model="m", split={}),
                ConfigChange(model="front", split=dict(zip(fronts, weights, strict=True))),
            ]
        )
        await operator.configure(change)
    await operator.roll_back("m")


async def test_experiments_under_load_lose_nothing_and_keep_to_the_plan(
    bootstrap_servers: str, unique_name: str, tmp_path: Path
) -> None:
    """Every request at every door is answered, and only by what the plan allowed by its offset."""
    site = Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)
    done, seed = asyncio.Event(), random.randrange(2**32)
    logging.getLogger(__name__).warning("the storm's seed is %d", seed)
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(two_nodes(site))
        publisher = await stack.enter_async_context(site.publisher())
        status = await stack.enter_async_context(status_reader(site.connection, site.topics))
        operator = Operator(site, publisher, status, ("a", "b"))
        await open_for_business(operator)
        opening = clients(site, nodes, lambda: operator.newest_offset)
        askers = await stack.enter_async_context(opening)
        async with asyncio.TaskGroup() as tasks:
            for asker in askers:
                tasks.create_task(asker.run(done))
            await experiment(operator, askers)
            await roll_back(operator, askers)
            await replace(operator, askers)
            await storm(operator, random.Random(seed))
            await settle(operator, askers)
            done.set()
        history = History(await read_control(site.connection, site.topics))
        assert [await node.stop() for node in nodes] == [0, 0]
    answers = [answer for asker in askers for answer in asker.answers]
    found = list(flaws(history, operator.settled, answers))
    assert not found, "\n".join([f"{len(found)} of {len(answers)} answers:", *found[:5]])
    for asker in askers:
        assert {answer.routed_by for answer in asker.answers} >= {"version", "label", "split"}
        assert {answer.node for answer in asker.answers} == {"a", "b"}
