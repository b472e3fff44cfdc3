"""Resolving a request as of a control record: it waits for what the plan means, and no longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from headrace.consumer.core.choice import Choice, Handle
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import (
    AliasLoop,
    ArtifactCorrupt,
    LoadCrashed,
    PlanNotReached,
    ServableNotFound,
    UnknownLabel,
)
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.serving_map import ServingMap
from headrace.schemas.records import ModelConfig, Route
from tests.unit.consumer.core.test_manager import S, Stage, retired, staged, version

LATEST = Route("m")


class Waiting:
    """A request that waits for a control record, in a task."""

    def __init__(self, asking: Coroutine[Any, Any, Handle]) -> None:
        self._task = asyncio.create_task(asking)

    async def waits(self) -> bool:
        """Whether it still waits, after everything else has had its turn."""
        await asyncio.wait([self._task], timeout=0.01)
        return not self._task.done()

    async def choice(self) -> Choice:
        """Return what it was routed to."""
        async with asyncio.timeout(5):
            with await self._task as choice:
                return choice

    async def answer(self) -> ServableId:
        """Return which version it came to."""
        return (await self.choice()).id

    async def number(self) -> int:
        """Return the number of the version that it came to."""
        return (await self.answer()).version


def ask(
    serving_map: ServingMap,
    min_offset: int,
    route: Route = LATEST,
    *,
    seconds: float = 60,
    affinity: bytes | None = None,
) -> Waiting:
    """Ask as of a control record, with so many seconds left."""
    deadline = time.monotonic() + seconds
    return Waiting(serving_map.acquire_at(min_offset, route, affinity, deadline_seconds=deadline))


async def served(stage: Stage) -> None:
    """Let version 1 serve, and from now on load nothing unasked."""
    stage.write(version(1))
    await stage.until(1, S.AVAILABLE)
    stage.loader.instant = False


async def test_answers_at_once_when_the_plan_is_there() -> None:
    """Neither an offset that was reached nor an older one costs any wait."""
    async with staged() as stage:
        await served(stage)
        for reached in (0, stage.manager.plan.offset):
            with stage.map.acquire_as_of(reached, LATEST) as choice:
                assert (choice.id.version, choice.plan_offset) == (1, 0)


async def test_waits_for_the_plan_and_then_for_the_version() -> None:
    """Nothing older answers, though it could; what is asked without an offset is not held up."""
    async with staged() as stage:
        await served(stage)
        request = ask(stage.map, 1)
        assert await request.waits()
        stage.write(version(2))
        await stage.until(2, S.LOADING)
        assert await request.waits()
        assert stage.default() == 1
        stage.loader.finish("m", 2)
        assert await request.number() == 2


async def test_a_later_plan_will_do() -> None:
    """What was published after the record that is waited for answers as well."""
    async with staged() as stage:
        await served(stage)
        request = ask(stage.map, 1)
        stage.write(version(2), version(3))
        await stage.until(3, S.LOADING)
        stage.loader.finish("m", 3)
        assert await request.number() == 3


async def test_waits_for_a_model_that_nobody_knows_yet() -> None:
    """Before the record a model is not unknown, but unheard of."""
    async with staged() as stage:
        request = ask(stage.map, 0)
        assert await request.waits()
        stage.write(version(1))
        assert await request.number() == 1


async def test_record_of_another_model_is_waited_for_too() -> None:
    """The offset is the log's: what it does to the model asked is for the log to say."""
    async with staged() as stage:
        await served(stage)
        stage.loader.instant = True
        request = ask(stage.map, 1)
        stage.write(version(1, "other"))
        assert await request.number() == 1


async def test_gives_up_shortly_before_the_deadline_and_says_what_is_missing() -> None:
    """The refusal names the offset that is wanted, the one that is reached, and why."""
    async with staged() as stage:
        await served(stage)
        refused = ask(stage.map, 7, seconds=0.05)
        with pytest.raises(PlanNotReached) as raised:
            await refused.answer()
        assert (raised.value.code, raised.value.retriable) == (Code.UNAVAILABLE, True)
        assert "control offset 7 or later" in str(raised.value)
        assert str(raised.value).endswith("has come to 0")
        stage.write(version(2))
        with pytest.raises(PlanNotReached, match="come to 1: m version 2 is still loading"):
            await ask(stage.map, 1, seconds=0.05).answer()
        with pytest.raises(PlanNotReached, match="still loading"):
            await ask(stage.map, 1, seconds=-1).answer()


async def test_failed_version_is_not_stood_in_for() -> None:
    """The old version goes on for others; who wants the new one hears why it does not serve."""
    async with staged() as stage:
        await served(stage)
        stage.write(version(2))
        await stage.until(2, S.LOADING)
        request = ask(stage.map, 1)
        stage.loader.fail("m", 2, ArtifactCorrupt("other bytes"))
        await stage.until(2, S.END)
        assert await request.waits()
        words = r"m version 2 does not serve on this node \(other bytes\)"
        with pytest.raises(PlanNotReached, match=words):
            stage.map.acquire_as_of(1, LATEST)
        assert stage.default() == 1
        with stage.map.acquire_as_of(1, Route("m", 1)) as choice:
            assert choice.id.version == 1
        stage.loader.instant = True
        stage.write(version(2))
        assert await request.number() == 2


async def test_failed_attempt_is_told_while_the_next_one_is_under_way() -> None:
    """Loading goes on, so the request waits; the words say what went wrong so far."""
    async with staged() as stage:
        await served(stage)
        stage.write(version(2))
        await stage.until(2, S.LOADING)
        for _ in (1, 2):
            await stage.begun()
        stage.loader.fail("m", 2, LoadCrashed("out of memory"))
        await stage.begun()
        with pytest.raises(PlanNotReached, match=r"is still loading \(out of memory\)"):
            stage.map.acquire_as_of(1, LATEST)


async def test_label_that_moved_means_its_new_version() -> None:
    """Without an offset the old target answers meanwhile; with it, it does not."""
    async with staged() as stage:
        stage.write(version(1), ModelConfig(model="m", labels={"stable": 1}))
        await stage.until(1, S.AVAILABLE)
        stage.loader.instant = False
        route = Route("m", None, "stable")
        stage.write(version(2), ModelConfig(model="m", labels={"stable": 2}))
        await stage.until(2, S.LOADING)
        request = ask(stage.map, 3, route)
        assert await request.waits()
        with stage.map.acquire(route) as choice:
            assert choice.id.version == 1
        stage.loader.finish("m", 2)
        assert await request.number() == 2
        with pytest.raises(UnknownLabel):
            await ask(stage.map, 3, Route("m", None, "other")).answer()


async def test_no_arm_stands_by_for_one_that_loads() -> None:
    """The plan says which arm a key takes, so this key waits and the other arm's keys do not."""
    async with staged() as stage:
        await served(stage)
        stage.write(version(2), ModelConfig(model="m", split={"2": 1}))
        await stage.until(2, S.LOADING)
        request = ask(stage.map, 2, affinity=b"k")
        assert await request.waits()
        stage.write(ModelConfig(model="m", split={"1": 1, "2": 1}))
        keys = [b"%d" % number for number in range(64)]
        asked = [ask(stage.map, 3, affinity=key) for key in keys]
        waiting = [await one.waits() for one in asked]
        assert set(waiting) == {True, False}
        stage.loader.finish("m", 2)
        assert [await one.number() for one in asked] == [2 if held else 1 for held in waiting]


async def test_alias_waits_for_the_model_that_its_arm_leads_to() -> None:
    """Also where neither name was known when the request came."""
    async with staged() as stage:
        stage.loader.instant = False
        request = ask(stage.map, 1, Route("alias"))
        stage.write(ModelConfig(model="alias", split={"m": 1}), version(1))
        await stage.until(1, S.LOADING)
        assert await request.waits()
        stage.loader.finish("m", 1)
        assert await request.answer() == ("m", 1)
        stage.write(ModelConfig(model="m", split={"alias": 1}))
        with pytest.raises(AliasLoop, match="alias → m → alias"):
            await ask(stage.map, 2, Route("alias")).answer()


async def test_same_number_with_other_bytes_is_another_version() -> None:
    """The bytes that serve under the number are the old ones until the new ones have loaded."""
    async with staged() as stage:
        await served(stage)
        stage.write(version(1, digest="other"))
        await stage.until(1, S.LOADING)
        assert stage.default() == 1
        for route in (LATEST, Route("m", 1)):
            with pytest.raises(PlanNotReached):
                stage.map.acquire_as_of(1, route)
        request = ask(stage.map, 1)
        stage.loader.finish("m", 1)
        assert (await request.choice()).planned.record.digest == "other"


async def test_repeated_record_of_the_same_bytes_needs_no_load() -> None:
    """What serves is what was published, so the newer event is true of it at once."""
    async with staged() as stage:
        await served(stage)
        stage.write(version(1))
        with stage.map.acquire_as_of(1, LATEST) as choice:
            assert choice.planned.control_offset == 1


async def test_retired_version_is_gone_though_it_still_drains() -> None:
    """At once: as of that record nothing is served, whatever has not been unloaded yet."""
    async with staged() as stage:
        await served(stage)
        request = ask(stage.map, 1)
        stage.write(retired(1))
        assert stage.serving() == {1}
        for route in (LATEST, Route("m", 1)):
            with pytest.raises(ServableNotFound):
                stage.map.acquire_as_of(1, route)
        with pytest.raises(ServableNotFound):
            await request.answer()


async def test_retired_version_is_gone_though_a_label_holds_it() -> None:
    """It answers those who ask by the label without an offset, until the label's own is there."""
    async with staged() as stage:
        stage.write(version(1), ModelConfig(model="m", labels={"stable": 1}))
        await stage.until(1, S.AVAILABLE)
        stage.loader.instant = False
        moved = ModelConfig(model="m", labels={"stable": 2})
        stage.write(version(2), moved, retired(1))
        with stage.map.acquire(Route("m", None, "stable")) as choice:
            assert choice.id.version == 1
        with pytest.raises(ServableNotFound):
            stage.map.acquire_as_of(4, Route("m", 1))


async def test_superseded_version_answers_who_names_it_until_it_goes() -> None:
    """It is published still, so an explicit number means it; gone, it is not waited for."""
    async with staged() as stage:
        await served(stage)
        stage.write(version(2))
        with stage.map.acquire_as_of(1, Route("m", 1)) as choice:
            assert choice.id.version == 1
        await stage.until(2, S.LOADING)
        stage.loader.finish("m", 2)
        await stage.until(1, S.END)
        with pytest.raises(ServableNotFound, match=r"Specific\(m, 1\)"):
            stage.map.acquire_as_of(1, Route("m", 1))


async def test_cancelled_wait_leaves_nothing_behind() -> None:
    """A caller that hangs up holds no version."""
    async with staged() as stage:
        await served(stage)
        waiting = asyncio.create_task(
            stage.map.acquire_at(9, LATEST, deadline_seconds=time.monotonic() + 60)
        )
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        async with asyncio.timeout(5):
            await stage.map.model("m").serving[1].wait_idle()
