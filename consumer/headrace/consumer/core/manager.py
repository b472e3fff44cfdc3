"""The manager: makes what is served follow the plan, model by model.

`apply` is handed every new plan; from then on each transition of a version makes the policy look
at its model again. No model ever waits for another one, except for a load slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import structlog

from headrace.consumer.core.harness import Harness, LifeOptions
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import Plan, PlannedModel
from headrace.consumer.core.policy import Action, Snapshot, decide
from headrace.consumer.core.servable import Loader
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.core.slots import LoadSlots
from headrace.schemas.records import Lifecycle, ModelConfig, ServableState

log = structlog.get_logger()

_Key = tuple[int, str]  # a version number and the digest of its bytes
_SETTLED = {ServableState.AVAILABLE, ServableState.UNLOADING, ServableState.END}


class Manager:
    """Owns the harness of every version, and the only one who writes the serving map.

    **Concurrency:** event loop only. An async context manager: leaving it unloads everything.
    """

    def __init__(
        self,
        loader: Loader,
        serving_map: ServingMap,
        monitor: Monitor,
        slots: LoadSlots,
        options: LifeOptions,
    ) -> None:
        self._loader = loader
        self._map = serving_map
        self._monitor = monitor
        self._slots = slots
        self._options = options
        self._plan = Plan()
        self._harnesses: dict[str, dict[_Key, Harness]] = {}
        self._available = 0
        self._has_plan = False
        self._has_moved = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Every harness ends by itself within its drain timeout, so this wait is bounded.
        self.apply(Plan(self._plan.offset))
        await self._tasks.__aexit__(kind, error, traceback)

    @property
    def plan(self) -> Plan:
        """The plan that was last applied."""
        return self._plan

    def apply(self, plan: Plan) -> None:
        """Make `plan` the one to follow. Returns at once; statuses of new versions are out."""
        before, self._plan = self._plan, plan
        self._has_plan = True
        for name in before.models.keys() | plan.models.keys():
            if before.models.get(name) is not plan.models.get(name):
                self._reconcile(name)
        self._map.note_change(plan.offset)
        self._has_moved.set()

    def unsettled(self, models: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the wanted versions, of these models or of all, that neither serve nor failed."""
        return tuple(
            str(harness.id)
            for model in (self._harnesses if models is None else models)
            for harness in self._harnesses.get(model, {}).values()
            if self._is_unsettled(harness)
        )

    def _is_unsettled(self, harness: Harness) -> bool:
        if harness.is_leaving:  # It may be wanted again, and then comes back after its end.
            is_wanted = harness.id.version in self._map.model(harness.id.model).wanted
            return is_wanted and not _is_over(harness)
        return harness.state not in _SETTLED

    async def wait_settled(self, models: Collection[str] | None = None) -> None:
        """Return when every wanted version, of these models or of all, serves or has failed."""
        await self._wait_until(lambda: not self.unsettled(models))

    async def wait_applied(self, offset: int) -> None:
        """Return when a plan as of `offset` or later is applied; with -1, when any plan is."""
        await self._wait_until(lambda: self._has_plan and self._plan.offset >= offset)

    async def wait_released(self, model: str) -> None:
        """Return when no version of a model serves, loads or drains here."""
        await self._wait_until(lambda: all(map(_is_over, self._harnesses.get(model, {}).values())))

    async def _wait_until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            self._has_moved.clear()
            await self._has_moved.wait()

    def _reconcile(self, name: str) -> None:
        """Look at one model again: start what is missing, let the policy decide, update routes."""
        model = self._plan.models.get(name) or PlannedModel(name)
        harnesses = self._harnesses.setdefault(name, {})
        config = model.config or ModelConfig(model=name)
        self._route(name, model, config, harnesses)
        wanted = self._wanted(model)
        self._begin_missing(model, wanted, harnesses, config)
        # A failure is remembered for as long as the version stays published.
        published = {
            (number, planned.record.digest)
            for number, planned in model.versions.items()
            if planned.record.lifecycle is Lifecycle.PUBLISHED
        }
        for key in [k for k, h in harnesses.items() if _is_over(h) and k not in published]:
            del harnesses[key]
        snapshots = [
            Snapshot(
                harness.id.version,
                harness.state,
                is_wanted=key in wanted,
                is_waiting=harness.is_waiting,
                is_leaving=harness.is_leaving,
            )
            for key, harness in harnesses.items()
        ]
        self._update_routes(name, config, wanted, harnesses)
        actions = decide(config.preserving, snapshots)
        # The highest version asks for a load slot first.
        for harness, action in sorted(
            zip(list(harnesses.values()), actions, strict=True),
            key=lambda pair: -pair[0].id.version,
        ):
            if action is Action.LOAD:
                harness.load()
            elif action is Action.STOP:
                harness.stop()
        if not harnesses and name not in self._plan.models:
            del self._harnesses[name]
            self._map.drop_model(name)

    def _route(
        self,
        name: str,
        model: PlannedModel,
        config: ModelConfig,
        harnesses: dict[_Key, Harness],
    ) -> None:
        """Route as configured; move each label whose version serves, the others keep theirs."""
        routes = self._map.model(name)
        if routes.config is not config:
            routes.configure(config)
        failed = [key[0] for key, harness in harnesses.items() if harness.has_failed]
        routes.planned, routes.wanted = model.wanted(), model.wanted(failed)
        routes.published = {
            number: planned.control_offset
            for number, planned in model.versions.items()
            if planned.record.lifecycle is Lifecycle.PUBLISHED
        }
        # One that leaves serves for moments still; a label that moved there would end up nowhere.
        lasting = {
            key[0]
            for key, harness in harnesses.items()
            if harness.state is ServableState.AVAILABLE and not harness.is_leaving
        }
        routes.bound = {
            label: target if target in lasting else routes.bound[label]
            for label, target in config.labels.items()
            if target in lasting or label in routes.bound
        }

    def _wanted(self, model: PlannedModel) -> set[_Key]:
        """Return what should be served: what is wanted, and what labels stand for meanwhile.

        A label holds its previous version while it waits for its own, and only then: one whose own
        version was retired holds nothing.
        """
        routes = self._map.model(model.name)
        held = {number for label, number in routes.bound.items() if number != routes.labels[label]}
        numbers = routes.wanted | (model.versions.keys() & held)
        return {(n, model.versions[n].record.digest) for n in numbers}

    def _begin_missing(
        self,
        model: PlannedModel,
        wanted: set[_Key],
        harnesses: dict[_Key, Harness],
        config: ModelConfig,
    ) -> None:
        """Give each wanted version a harness; a fresh one if its event is newer than a failure."""
        for key in sorted(wanted):
            planned = model.versions[key[0]]
            harness = harnesses.get(key)
            is_newer = harness is not None and (
                planned.control_offset > harness.planned.control_offset
            )
            if harness is None or (_is_over(harness) and is_newer):
                fresh = Harness(planned, config, self._options, self._changed)
                harnesses[key] = fresh
                self._monitor.record(fresh.status)
                self._tasks.create_task(
                    fresh.live(self._loader, self._slots, self._is_serving),
                    name=f"version {fresh.id}",
                )
            elif is_newer and not harness.is_leaving:
                harness.renew(planned)

    def _update_routes(
        self,
        name: str,
        config: ModelConfig,
        wanted: set[_Key],
        harnesses: dict[_Key, Harness],
    ) -> None:
        routes = self._map.model(name)
        routes.coming = frozenset(
            key[0]
            for key, harness in harnesses.items()
            if key in wanted and harness.state in {ServableState.START, ServableState.LOADING}
        )
        routes.failures = {
            key[0]: harness.error
            for key, harness in harnesses.items()
            if key in wanted and harness.has_failed and harness.error
        }
        for harness in harnesses.values():
            harness.configure(config)

    def _is_serving(self) -> bool:
        return self._available > 0

    def _changed(self, harness: Harness) -> None:
        """Follow one transition: the serving map first, then who wants to know, then the policy."""
        name, number = harness.id
        serving = self._map.model(name).serving
        if harness.state is ServableState.AVAILABLE and harness.serving:
            self._available += serving.get(number) is None
            serving[number] = harness.serving
        if not self._is_replaced(harness):
            self._monitor.record(harness.status)
        if harness.state is ServableState.UNLOADING and serving.get(number) is harness.serving:
            del serving[number]
            self._available -= 1
        if harness.state is ServableState.END and not harness.has_failed:
            self._harnesses[name] = {
                key: other for key, other in self._harnesses[name].items() if other is not harness
            }
        self._reconcile(name)
        self._map.note_change(self._plan.offset)
        self._has_moved.set()

    def _is_replaced(self, harness: Harness) -> bool:
        """Whether the same version number has come anew with other bytes."""
        return any(
            other.id == harness.id and other.planned.control_offset > harness.planned.control_offset
            for other in self._harnesses[harness.id.model].values()
        )


def _is_over(harness: Harness) -> bool:
    return harness.state is ServableState.END
