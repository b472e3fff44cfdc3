"""The manager and the life of a version, with a loader whose loads the test commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from headrace.consumer.core.errors import ArtifactCorrupt, LoadCrashed, ServableNotFound
from headrace.consumer.core.harness import LifeOptions
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.manager import Manager
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import ControlEvent, Plan, fold
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.core.slots import LoadSlots
from headrace.schemas.records import (
    Batching,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    Preserving,
    Route,
    ServableState,
    ServableStatus,
    VersionPolicy,
    config_key,
    version_key,
)
from tests.fakes.loading import ScriptedLoader

S = ServableState


class Stage:
    """A manager with everything around it, and a log to write to."""

    def __init__(self, manager: Manager, loader: ScriptedLoader, serving_map: ServingMap) -> None:
        self.manager = manager
        self.loader = loader
        self.map = serving_map
        self.seen: list[ServableStatus] = []
        self.found_when: dict[S, bool] = {}
        self.changed = asyncio.Event()

    def saw(self, status: ServableStatus) -> None:
        """Remember a transition, and whether a lookup finds the version at that moment."""
        self.seen.append(status)
        self.found_when[status.state] = status.version in self.serving(status.model)
        self.changed.set()

    def write(self, *records: ModelVersion | ModelConfig) -> None:
        """Append records to the control log and apply the plan."""
        offset = self.manager.plan.offset
        events: list[ControlEvent] = []
        for number, record in enumerate(records, start=offset + 1):
            key = (
                version_key(record.model, record.version)
                if isinstance(record, ModelVersion)
                else config_key(record.model)
            )
            events.append(ControlEvent(number, key, record))
        self.manager.apply(fold(self.manager.plan, events))

    def forget(self, model: str, version: int) -> None:
        """Append a tombstone."""
        event = ControlEvent(self.manager.plan.offset + 1, version_key(model, version), None)
        self.manager.apply(fold(self.manager.plan, [event]))

    def last(self, version: int, model: str = "m") -> ServableStatus | None:
        """Return the last status of one version."""
        matching = [s for s in self.seen if (s.model, s.version) == (model, version)]
        return matching[-1] if matching else None

    def states(self, version: int, model: str = "m") -> list[S]:
        """Return the states one version went through."""
        return [s.state for s in self.seen if (s.model, s.version) == (model, version)]

    async def until(self, version: int, state: S, model: str = "m") -> ServableStatus:
        """Wait until a version is in a state."""
        async with asyncio.timeout(5):
            while (status := self.last(version, model)) is None or status.state is not state:
                self.changed.clear()
                await self.changed.wait()
        return status

    async def begun(self) -> ServableId:
        """Wait for the next load to begin."""
        async with asyncio.timeout(5):
            return await self.loader.begun.get()

    def serving(self, model: str = "m") -> set[int]:
        """Return the versions that answer."""
        return set(self.map.model(model).serving)

    def default(self) -> int:
        """Return the version that answers a request that names none."""
        with self.map.acquire(Route("m")) as found:
            return found.id.version


@asynccontextmanager
async def staged(slots: int = 4, preserving: Preserving | None = None) -> AsyncGenerator[Stage]:
    """Open a manager whose retries and drains are short."""
    loader, serving_map, monitor = ScriptedLoader(), ServingMap(), Monitor()
    options = LifeOptions(
        load_attempts=3,
        first_backoff_seconds=0.001,
        max_backoff_seconds=0.002,
        drain_seconds=0.05,
    )
    async with Manager(loader, serving_map, monitor, LoadSlots(slots), options) as manager:
        stage = Stage(manager, loader, serving_map)
        monitor.observe(stage.saw)
        if preserving:
            stage.write(ModelConfig(model="m", preserving=preserving))
        yield stage


def version(number: int, model: str = "m", digest: str = "d") -> ModelVersion:
    """Return a published version."""
    return ModelVersion(model=model, version=number, uri="", digest=digest, size_bytes=0)


def retired(number: int) -> ModelVersion:
    """Return a retired version."""
    return ModelVersion(
        model="m", version=number, uri="", digest="d", size_bytes=0, lifecycle=Lifecycle.RETIRED
    )


async def test_version_goes_through_its_states_in_order() -> None:
    """Published, superseded: START, LOADING, AVAILABLE, UNLOADING, END, and unloaded for real."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        first = stage.loader.servables[ServableId("m", 1)]
        stage.write(version(2))
        await stage.until(1, S.END)
        assert stage.states(1) == [S.START, S.LOADING, S.AVAILABLE, S.UNLOADING, S.END]
        assert first.is_unloaded
        assert stage.serving() == {2}


async def test_keeps_old_version_until_new_is_available() -> None:
    """While the new one loads, the old one answers."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.loader.instant = False
        stage.write(version(2))
        await stage.until(2, S.LOADING)
        assert stage.default() == 1
        assert stage.last(1).state is S.AVAILABLE  # type: ignore[union-attr]
        stage.loader.finish("m", 2)
        await stage.until(1, S.END)
        assert stage.default() == 2


async def test_available_is_announced_after_lookup_and_unloading_before_it_stops() -> None:
    """A client that acts on a status never finds it untrue."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.write(retired(1))
        await stage.until(1, S.END)
    assert stage.found_when == {
        S.START: False,
        S.LOADING: False,
        S.AVAILABLE: True,
        S.UNLOADING: True,
        S.END: False,
    }


async def _settled(stage: Stage) -> None:
    async with asyncio.timeout(5):
        await stage.manager.wait_settled()


async def test_failed_version_leaves_the_old_one_serving() -> None:
    """A permanent failure ends at once with its words; a retriable one after all attempts."""
    async with staged() as stage:
        stage.loader.failures[ServableId("m", 2)] = [ArtifactCorrupt("bits flipped")]
        stage.loader.failures[ServableId("m", 3)] = [LoadCrashed(f"crash {n}") for n in (1, 2, 3)]
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.write(version(2))
        status = await stage.until(2, S.END)
        assert status.error == "bits flipped"
        assert status.attempt == 1
        stage.write(version(3))
        status = await stage.until(3, S.END)
        assert status.error == "crash 3"
        assert status.attempt == 3
        assert stage.default() == 1


async def test_retries_until_loaded_and_clears_the_error() -> None:
    """Two failures, then success: LOADING carries the error while it waits."""
    async with staged() as stage:
        stage.loader.failures[ServableId("m", 1)] = [LoadCrashed("one"), LoadCrashed("two")]
        stage.write(version(1))
        status = await stage.until(1, S.AVAILABLE)
        assert status.error is None
        errors = [s.error for s in stage.seen if s.state is S.LOADING]
        assert "one" in errors
        assert "two" in errors


async def test_restart_with_a_broken_newest_version_serves_the_last_good_one() -> None:
    """From the log alone, the next lower version fills in for the failed one."""
    async with staged() as stage:
        stage.loader.failures[ServableId("m", 2)] = [ArtifactCorrupt("broken")]
        stage.write(version(1), version(2))
        await stage.until(1, S.AVAILABLE)
        assert stage.default() == 1


async def test_new_event_for_a_failed_version_starts_afresh() -> None:
    """Publishing the same version again is how an operator retries."""
    async with staged() as stage:
        stage.loader.failures[ServableId("m", 1)] = [ArtifactCorrupt("broken")]
        stage.write(version(1))
        await stage.until(1, S.END)
        stage.write(version(1))
        status = await stage.until(1, S.AVAILABLE)
        assert status.control_offset == 1


async def test_repeated_event_for_a_serving_version_reloads_nothing() -> None:
    """It is reported AVAILABLE at the new offset, so that a publisher who waits is answered."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        await stage.begun()
        stage.write(version(1))
        assert stage.last(1).control_offset == 1  # type: ignore[union-attr]
        assert stage.loader.begun.empty()


async def test_same_version_with_other_bytes_is_loaded_before_it_replaces() -> None:
    """The new bytes answer under the same number; the old ones are unloaded after."""
    async with staged() as stage:
        stage.write(version(1, digest="old"))
        await stage.until(1, S.AVAILABLE)
        before = stage.map.model("m").serving[1]
        stage.loader.instant = False
        await stage.begun()
        stage.write(version(1, digest="new"))
        await stage.begun()
        assert stage.map.model("m").serving[1] is before
        stage.loader.finish("m", 1)
        async with asyncio.timeout(5):
            await before.servable.unloaded.wait()  # type: ignore[attr-defined]
        assert stage.map.model("m").serving[1].planned.record.digest == "new"
        assert stage.last(1).state is S.AVAILABLE  # type: ignore[union-attr]


async def test_unload_waits_for_loans_and_no_longer_than_the_drain_timeout() -> None:
    """A loan that comes back lets the unload go on; one that does not is overruled."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        servable = stage.loader.servables[ServableId("m", 1)]
        with stage.map.acquire(Route("m", 1)):
            stage.write(retired(1))
            await stage.until(1, S.UNLOADING)
            assert not servable.is_unloaded
            await stage.until(1, S.END)
            assert servable.is_unloaded


async def test_one_model_loading_never_holds_another() -> None:
    """With slots free, models load side by side."""
    async with staged(slots=2) as stage:
        stage.loader.instant = False
        stage.write(version(1, "slow"), version(1, "quick"))
        await stage.begun()
        await stage.begun()
        stage.loader.finish("quick", 1)
        await stage.until(1, S.AVAILABLE, "quick")
        assert stage.last(1, "slow").state is S.LOADING  # type: ignore[union-attr]


async def test_never_more_loads_at_once_than_slots() -> None:
    """Ten models through one slot."""
    async with staged(slots=1) as stage:
        stage.write(*(version(1, f"m{n}") for n in range(10)))
        await _settled(stage)
        assert stage.loader.most_running == 1


async def test_superseded_before_it_began_is_never_loaded() -> None:
    """Only the newest of a burst is loaded."""
    async with staged(slots=1) as stage:
        stage.loader.instant = False
        stage.write(version(1, "other"))
        await stage.begun()
        stage.write(version(1))
        stage.write(version(2))
        await stage.until(1, S.END)
        stage.loader.instant = True
        stage.loader.finish("other", 1)
        await stage.until(2, S.AVAILABLE)
        assert ServableId("m", 1) not in stage.loader.servables


async def test_retiring_while_loading_ends_the_load() -> None:
    """The loader is cancelled and the version ends without error."""
    async with staged() as stage:
        stage.loader.instant = False
        stage.write(version(1))
        await stage.begun()
        stage.write(retired(1))
        status = await stage.until(1, S.END)
        assert status.error is None
        assert stage.loader.cancelled == [ServableId("m", 1)]


async def test_published_faster_than_loaded_still_gets_fresher() -> None:
    """An overtaken load may finish and serve until the newest is there."""
    async with staged(slots=1) as stage:
        stage.loader.instant = False
        stage.write(version(1))
        await stage.begun()
        stage.write(version(2))
        stage.write(version(3))
        stage.loader.finish("m", 1)
        await stage.until(1, S.AVAILABLE)
        assert await stage.begun() == ServableId("m", 3)
        stage.loader.finish("m", 3)
        await stage.until(1, S.END)
        assert stage.serving() == {3}


async def test_resource_preserving_unloads_first() -> None:
    """Never two generations in memory."""
    async with staged(preserving=Preserving.RESOURCE) as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.write(version(2))
        await stage.until(2, S.AVAILABLE)
        order = [(s.version, s.state) for s in stage.seen]
        assert order.index((1, S.END)) < order.index((2, S.LOADING))


async def test_broken_servable_ends_and_the_last_good_version_comes_back() -> None:
    """A version that keeps crashing is given up; the one before it is loaded again."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.write(version(2))
        await stage.until(1, S.END)
        stage.loader.servables[ServableId("m", 2)].break_down(LoadCrashed("3 deaths in 60 s"))
        status = await stage.until(2, S.END)
        assert status.error == "3 deaths in 60 s"
        await stage.until(1, S.AVAILABLE)
        assert stage.default() == 1


async def test_label_keeps_its_old_target_until_the_new_one_is_available() -> None:
    """And the old target is not unloaded under it."""
    async with staged() as stage:
        stage.write(version(1), ModelConfig(model="m", labels={"stable": 1}))
        await stage.until(1, S.AVAILABLE)
        stage.write(version(2))
        await stage.until(2, S.AVAILABLE)
        assert stage.serving() == {1, 2}
        stage.loader.instant = False
        stage.write(version(3), ModelConfig(model="m", labels={"stable": 3}))
        await stage.until(3, S.LOADING)
        with stage.map.acquire(Route("m", None, "stable")) as found:
            assert found.id.version == 1
        stage.loader.finish("m", 3)
        await stage.until(1, S.END)
        with stage.map.acquire(Route("m", None, "stable")) as found:
            assert found.id.version == 3


async def test_retired_version_ends_though_a_label_names_it() -> None:
    """A label that waits for nothing holds nothing: the version was taken out of service."""
    async with staged() as stage:
        stage.write(version(1), ModelConfig(model="m", labels={"stable": 1}))
        await stage.until(1, S.AVAILABLE)
        stage.write(version(2), retired(1))
        await stage.until(1, S.END)
        with pytest.raises(ServableNotFound, match=r"Specific\(m, 1\)"):
            stage.map.acquire(Route("m", None, "stable"))
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        with stage.map.acquire(Route("m", None, "stable")) as found:
            assert found.id.version == 1


async def test_configuration_reaches_running_versions() -> None:
    """New batching rules and more workers need no reload; a wider policy loads more."""
    async with staged() as stage:
        stage.write(version(1), version(2))
        await stage.until(2, S.AVAILABLE)
        stage.write(
            ModelConfig(
                model="m",
                policy=VersionPolicy(kind=PolicyKind.ALL),
                batching=Batching(max_rows=7),
                replicas=3,
            )
        )
        await stage.until(1, S.AVAILABLE)
        for servable in stage.loader.servables.values():
            assert servable.batching == Batching(max_rows=7)
            assert servable.replicas == 3


async def test_configuration_that_changes_during_a_load_reaches_the_version() -> None:
    """What loads with the old configuration serves with the present one."""
    async with staged() as stage:
        stage.loader.instant = False
        stage.write(version(1))
        await stage.until(1, S.LOADING)
        stage.write(ModelConfig(model="m", batching=Batching(max_rows=7), replicas=3))
        stage.loader.finish("m", 1)
        await stage.until(1, S.AVAILABLE)
        [servable] = stage.loader.servables.values()
        assert (servable.batching, servable.replicas) == (Batching(max_rows=7), 3)


async def test_forgotten_model_leaves_nothing_behind() -> None:
    """A tombstone unloads, and the model's routes are gone."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.forget("m", 1)
        await stage.until(1, S.END)
        with pytest.raises(ServableNotFound):
            stage.map.acquire(Route("m"))
        assert stage.manager.unsettled() == ()


async def test_loader_that_raises_something_unheard_of_fails_only_that_version() -> None:
    """One bad event never ends the node."""
    async with staged() as stage:
        stage.loader.failures[ServableId("m", 1)] = [KeyError("surprise")]  # type: ignore[list-item]
        stage.write(version(1), version(1, "other"))
        status = await stage.until(1, S.END)
        assert "surprise" in (status.error or "")
        await stage.until(1, S.AVAILABLE, "other")


async def test_leaving_the_manager_unloads_everything() -> None:
    """Also what is still loading."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.loader.instant = False
        stage.write(version(1, "late"))
        await stage.until(1, S.LOADING, "late")
    assert stage.states(1)[-1] is S.END
    assert stage.states(1, "late")[-1] is S.END
    assert stage.loader.servables[ServableId("m", 1)].is_unloaded


async def test_loads_yield_the_cpu_only_while_others_serve() -> None:
    """At start every core may load."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        stage.write(version(2))
        await stage.until(2, S.AVAILABLE)
        assert stage.loader.yields == [False, True]


async def test_waits_end_with_the_plan_the_loads_and_the_drain() -> None:
    """Applied once the plan is there, settled model by model, released when nothing is held."""
    async with staged() as stage:
        stage.loader.instant = False
        applied = asyncio.create_task(stage.manager.wait_applied(1))
        stage.write(version(1))
        await stage.begun()
        assert not applied.done()
        stage.write(version(1, "other"))
        async with asyncio.timeout(5):
            await applied
            await stage.begun()
            stage.loader.finish("m", 1)
            await stage.manager.wait_settled(["m", "unknown"])
        assert stage.manager.unsettled() == ("other/1",)
        with stage.map.acquire(Route("m")):
            stage.write(retired(1))
            released = asyncio.create_task(stage.manager.wait_released("m"))
            await stage.until(1, S.UNLOADING)
            assert not released.done()
        async with asyncio.timeout(5):
            await released
            await stage.manager.wait_released("unknown")
        stage.loader.finish("other", 1)


async def test_nothing_is_applied_before_the_log_was_read() -> None:
    """Not even what an empty log says."""
    async with staged() as stage:
        applied = asyncio.create_task(stage.manager.wait_applied(-1))
        await asyncio.sleep(0)
        assert not applied.done()
        stage.manager.apply(Plan())
        async with asyncio.timeout(5):
            await applied


async def test_version_that_is_wanted_again_while_it_leaves_is_unsettled() -> None:
    """It ends first and then comes back; until then nobody can say that all is well."""
    async with staged() as stage:
        stage.write(version(1))
        await stage.until(1, S.AVAILABLE)
        with stage.map.acquire(Route("m")):
            stage.write(retired(1))
            await stage.until(1, S.UNLOADING)
            assert stage.manager.unsettled() == ()
            stage.write(version(1))
            assert stage.manager.unsettled() == ("m/1",)
        async with asyncio.timeout(5):
            await stage.manager.wait_settled()
        assert stage.states(1)[-1] is S.AVAILABLE


def specific(*versions: int, **labels: int) -> ModelConfig:
    """Return a configuration that wants just these versions and those of its labels."""
    policy = VersionPolicy(kind=PolicyKind.SPECIFIC, versions=versions)
    return ModelConfig(model="m", policy=policy, labels=labels)


async def test_a_version_that_leaves_succeeds_nobody() -> None:
    """Back and forth before anything could follow: what serves stays until the other is back."""
    async with staged() as stage:
        stage.write(version(1), version(2), specific(1))
        await stage.until(1, S.AVAILABLE)
        stage.write(specific(1, 2))
        await stage.until(2, S.AVAILABLE)
        stage.loader.instant = False
        stage.write(specific(2))
        stage.write(specific(1))
        await stage.until(1, S.LOADING)
        assert stage.default() == 2
        stage.loader.finish("m", 1)
        await stage.until(2, S.END)
        assert stage.default() == 1


async def test_a_label_does_not_move_to_a_version_that_leaves() -> None:
    """It waits until that one is back, and its old target answers."""
    async with staged() as stage:
        stage.write(version(1), version(2), specific(2, stable=1))
        await stage.until(1, S.AVAILABLE)
        await stage.until(2, S.AVAILABLE)
        stage.loader.instant = False
        stage.write(specific(2, stable=2))
        stage.write(specific(2, stable=1))
        await stage.until(1, S.LOADING)
        with stage.map.acquire(Route("m", None, "stable")) as found:
            assert found.id.version == 2
        stage.loader.finish("m", 1)
        await stage.until(1, S.AVAILABLE)
        with stage.map.acquire(Route("m", None, "stable")) as found:
            assert found.id.version == 1


async def test_what_a_waiting_label_holds_is_not_the_latest() -> None:
    """It answers by that label alone, unless nothing that is wanted serves."""
    async with staged() as stage:
        stage.write(version(1), version(2), version(3), specific(1, canary=2))
        await stage.until(1, S.AVAILABLE)
        await stage.until(2, S.AVAILABLE)
        assert stage.default() == 2
        stage.loader.instant = False
        stage.write(specific(1, canary=3))
        await stage.until(3, S.LOADING)
        assert stage.default() == 1
        with stage.map.acquire(Route("m", None, "canary")) as found:
            assert found.id.version == 2
        stage.loader.finish("m", 3)
        await stage.until(2, S.END)
        assert stage.default() == 3
