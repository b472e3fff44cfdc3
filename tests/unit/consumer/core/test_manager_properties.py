"""What holds of the manager whatever happens: no answer is given up without need.

Hypothesis draws schedules of events; a scripted loader lets the loads of one schedule end in any
order, well or badly, while the log goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumer.core.errors import ArtifactCorrupt, LoadCrashed, WorkerDied
from headrace.consumer.core.harness import Harness, LifeOptions
from headrace.consumer.core.manager import Manager
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import ControlEvent, PlannedModel, fold
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.core.slots import LoadSlots
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    Preserving,
    ServableState,
    VersionPolicy,
    config_key,
    version_key,
)
from tests.fakes.loading import EchoServable, ScriptedLoader

NUMBERS = st.integers(1, 3)
ARMS = {"1": 1, "3": 3, "m@2": 2}  # What arms of m may name besides its labels.
OPTIONS = LifeOptions(
    load_attempts=2, first_backoff_seconds=0, max_backoff_seconds=0, drain_seconds=0
)


@dataclass
class Stage:
    """A manager of one model, and what was promised of it so far.

    `owes_answer` is true from the moment that a wanted version serves until nothing is wanted any
    more, or the model breaks down, or memory is to be preserved instead.
    """

    manager: Manager
    loader: ScriptedLoader
    map: ServingMap
    owes_answer: bool = False
    leaving: set[Harness] = field(default_factory=set[Harness])

    @property
    def model(self) -> PlannedModel:
        """What the log says."""
        return self.manager.plan.models.get("m") or PlannedModel("m")

    @property
    def config(self) -> ModelConfig:
        """How the model is to be served."""
        return self.model.config or ModelConfig(model="m")

    @property
    def published(self) -> set[int]:
        """The versions that are published and not retired."""
        versions = self.model.versions.items()
        return {n for n, v in versions if v.record.lifecycle is Lifecycle.PUBLISHED}

    @property
    def named(self) -> set[int]:
        """The versions that labels and arms with a weight stand for."""
        arms = [arm for arm, weight in self.config.split.items() if weight]
        return {*self.config.labels.values(), *(ARMS[arm] for arm in arms if arm in ARMS)}

    @property
    def harnesses(self) -> list[Harness]:
        """Every version that lives here."""
        return list(self.manager._harnesses.get("m", {}).values())  # pyright: ignore[reportPrivateUsage]

    def write(self, key: bytes, record: ModelVersion | ModelConfig | None) -> None:
        """Append a record to the control log and apply the plan."""
        before = self.manager.plan
        self.manager.apply(fold(before, [ControlEvent(before.offset + 1, key, record)]))
        self.check()

    def check(self) -> None:
        """Hold the manager to what it promises."""
        for harness in self.harnesses:
            if harness.is_leaving and harness not in self.leaving:
                self.leaving.add(harness)
                self.check_may_leave(harness)
        serving = self.map.model("m").serving
        wants_nothing = not self.model.wanted()
        # Nobody knows of a break-down before the loop has turned.
        is_breaking = any(
            h.state is ServableState.AVAILABLE and not h.is_leaving and not is_sound(h)
            for h in self.harnesses
        )
        if wants_nothing or is_breaking or self.config.preserving is Preserving.RESOURCE:
            self.owes_answer = False
        elif any(is_sound(h) and serving.get(h.id.version) is h.serving for h in self.harnesses):
            self.owes_answer = True
        assert serving or not self.owes_answer, "nothing answers, and something is wanted"

    def check_may_leave(self, harness: Harness) -> None:
        """Check that a version which was told to stop is one that nobody needs."""
        planned = self.model.versions.get(harness.id.version)
        if planned is None or planned.record.digest != harness.planned.record.digest:
            return  # Forgotten, or replaced by other bytes.
        number = harness.id.version
        bound = set(self.map.model("m").bound.values())
        assert number not in self.model.wanted(), f"{number} is wanted and was stopped"
        assert number not in self.named & self.published, f"{number} is named"
        assert number not in bound & self.published, f"a label stands for {number}"

    async def turn(self, times: int) -> None:
        """Let the loop run so many rounds, and look after each."""
        for _ in range(times):
            await asyncio.sleep(0)
            self.check()


def echo(harness: Harness) -> EchoServable | None:
    """Return what a version answers with."""
    servable = harness.serving and harness.serving.servable
    return servable if isinstance(servable, EchoServable) else None


def is_sound(harness: Harness) -> bool:
    """Whether a version serves and goes on to."""
    servable = echo(harness)
    serves = harness.state is ServableState.AVAILABLE and not harness.is_leaving
    return serves and servable is not None and not servable.is_broken


class Step(NamedTuple):
    """Something that happens, and what to call it when a schedule is found to fail."""

    words: str
    act: Callable[[Stage], None]

    def __repr__(self) -> str:
        return self.words


def write(words: str, key: bytes, record: ModelVersion | ModelConfig | None) -> Step:
    """Append a record to the log."""

    def act(stage: Stage) -> None:
        stage.write(key, record)

    return Step(words, act)


def publish(number: int, digest: str, lifecycle: Lifecycle) -> Step:
    """Publish or retire a version."""
    record = ModelVersion(
        model="m", version=number, uri="u", digest=digest, size_bytes=1, lifecycle=lifecycle
    )
    return write(f"{lifecycle} {number}{digest}", version_key("m", number), record)


def forget(number: int) -> Step:
    """Forget a version."""
    return write(f"forget {number}", version_key("m", number), None)


def configure(config: ModelConfig | None) -> Step:
    """Configure the model, or forget its configuration."""
    words = config and (config.policy, config.preserving, config.labels, config.split)
    return write(f"configure {words}", config_key("m"), config)


def end_load(which: int, failure: type[ArtifactCorrupt | LoadCrashed] | None) -> Step:
    """End one of the loads under way."""

    def end(stage: Stage) -> None:
        waiting = stage.loader.waiting
        if waiting:
            model, version = waiting[which % len(waiting)]
            if failure is None:
                stage.loader.finish(model, version)
            else:
                stage.loader.fail(model, version, failure("scripted"))

    return Step(f"end load {which} with {failure and failure.__name__}", end)


def break_down(which: int) -> Step:
    """Break one of the versions that serve, beyond repair."""

    def end(stage: Stage) -> None:
        sound = [harness for harness in stage.harnesses if is_sound(harness)]
        if sound:
            servable = echo(sound[which % len(sound)])
            assert servable is not None
            servable.break_down(WorkerDied("scripted"))

    return Step(f"break {which}", end)


configs = st.builds(
    ModelConfig,
    model=st.just("m"),
    policy=st.builds(
        VersionPolicy,
        kind=st.sampled_from(list(PolicyKind)),
        latest=st.integers(1, 2),
        versions=st.lists(NUMBERS, max_size=2).map(tuple),
    ),
    preserving=st.sampled_from([Preserving.AVAILABILITY] * 3 + [Preserving.RESOURCE]),
    labels=st.dictionaries(st.sampled_from(["stable", "canary"]), NUMBERS),
    split=st.dictionaries(st.sampled_from(["stable", "canary", *ARMS, "other"]), st.integers(0, 2)),
)
NO_FAILURE: list[type[ArtifactCorrupt | LoadCrashed] | None] = [None, None, None]
publications = st.builds(
    publish, NUMBERS, st.sampled_from(["x", "x", "x", "y"]), st.just(Lifecycle.PUBLISHED)
)
ends = st.builds(
    end_load, st.integers(0, 3), st.sampled_from([*NO_FAILURE, ArtifactCorrupt, LoadCrashed])
)
steps = st.one_of(
    publications,
    ends,
    ends,
    st.builds(configure, configs | st.none()),
    st.builds(publish, NUMBERS, st.just("x"), st.just(Lifecycle.RETIRED)),
    st.builds(forget, NUMBERS),
    st.builds(break_down, st.integers(0, 3)),
)
schedules = st.lists(st.tuples(steps, st.sampled_from([20, 20, 2, 1, 0])), min_size=4, max_size=40)
BEGINNING = [
    (publish(2, "x", Lifecycle.PUBLISHED), 20),
    (end_load(0, None), 20),
]


async def play(schedule: Sequence[tuple[Step, int]]) -> None:
    """Play a schedule from a version that serves on; then let every load succeed.

    What is wanted must serve in the end.
    """
    loader, serving_map = ScriptedLoader(), ServingMap()
    loader.instant = False
    async with Manager(loader, serving_map, Monitor(), LoadSlots(2), OPTIONS) as manager:
        stage = Stage(manager, loader, serving_map)
        for step, rounds in [*BEGINNING, *schedule]:
            step.act(stage)
            await stage.turn(rounds)
        loader.instant = True
        for model, version in loader.waiting:
            loader.finish(model, version)
        async with asyncio.timeout(5):
            while manager.unsettled():
                await stage.turn(1)
        await stage.turn(20)
        failed = {h.id.version for h in stage.harnesses if h.has_failed}
        wanted = {n for n in stage.model.wanted(failed) if n not in failed}
        assert wanted <= serving_map.model("m").serving.keys()


@settings(deadline=None, max_examples=300)
@given(schedules)
def test_no_answer_is_given_up_without_need(schedule: list[tuple[Step, int]]) -> None:
    """While something is wanted, what served goes on until something else does.

    And what is wanted, named by a label or an arm, or stood for by a label, is never told to stop.
    """
    asyncio.run(play(schedule))


PUBLISHED, RETIRED = Lifecycle.PUBLISHED, Lifecycle.RETIRED
EVERY_VERSION = ModelConfig(model="m", policy=VersionPolicy(kind=PolicyKind.ALL))


@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param(
            [
                (break_down(0), 20),
                (publish(1, "x", PUBLISHED), 20),
                (publish(1, "y", PUBLISHED), 1),
                (forget(3), 1),
                (end_load(1, None), 2),
                (publish(1, "x", RETIRED), 0),
            ],
            id="other-bytes-get-ready-as-they-are-told-to-stop",
        ),
        pytest.param(
            [
                (forget(2), 20),
                (publish(3, "y", PUBLISHED), 20),
                (publish(1, "x", PUBLISHED), 20),
                (configure(EVERY_VERSION), 20),
                (end_load(3, None), 20),
                (end_load(0, None), 20),
                (forget(1), 0),
                (publish(1, "x", PUBLISHED), 2),
                (forget(3), 20),
            ],
            id="successor-is-wanted-again-while-it-leaves",
        ),
    ],
)
def test_schedules_that_once_lost_an_answer(schedule: list[tuple[Step, int]]) -> None:
    """What was found stays found."""
    asyncio.run(play(schedule))
