"""Which version answers a request: the routes of every model as the manager last saw them.

A door resolves a request to a version and borrows it for as long as it needs the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from headrace.consumer.core.choice import Choice, Handle, Mirror, Mirrored, Reason, Serving
from headrace.consumer.core.errors import (
    AliasLoop,
    PlanNotReached,
    RequestError,
    ServableNotFound,
    ServableNotReady,
    UnknownLabel,
)
from headrace.consumer.core.routing import Split, split_of
from headrace.schemas.arms import route_of_arm
from headrace.schemas.records import ModelConfig, Route, Shadow


class ModelRoutes:
    """Where the requests for one model go, as the manager last saw it.

    `coming` are versions that are wanted and not AVAILABLE. `labels` are all configured labels;
    `bound` those whose version has been AVAILABLE at least once since the label was set, with the
    version they stand for until the next one is. `planned` are the versions that the plan wants
    whatever becomes of them here, with the offsets of the records that brought them.
    """

    __slots__ = (
        "bound",
        "coming",
        "config",
        "labels",
        "planned",
        "serving",
        "shadow",
        "split",
        "wanted",
    )

    def __init__(self) -> None:
        self.serving: dict[int, Serving] = {}
        self.coming: frozenset[int] = frozenset()
        self.wanted: frozenset[int] = frozenset()
        self.planned: Mapping[int, int] = {}
        self.labels: Mapping[str, int] = {}
        self.bound: dict[str, int] = {}
        self.split: Split | None = None
        self.shadow: Shadow | None = None
        self.config: ModelConfig | None = None

    def configure(self, config: ModelConfig) -> None:
        """Route by this configuration from now on."""
        self.config = config
        self.labels, self.split, self.shadow = config.labels, split_of(config), config.shadow


class _Found(NamedTuple):
    serving: Serving
    reason: Reason
    arm: str = ""


class ServingMap:
    """All versions that answer now, by model.

    **Concurrency:** event loop only: a lookup never sees half a change.
    """

    def __init__(self, mirror: Mirror | None = None) -> None:
        self._mirror = mirror
        self._models: dict[str, ModelRoutes] = {}
        self._choices: dict[tuple[str, _Found], Choice] = {}
        self._plan_offset = -1
        self._has_changed = asyncio.Event()

    def model(self, name: str) -> ModelRoutes:
        """Return the routes of one model, made empty when there are none; the manager's entry."""
        return self._models.setdefault(name, ModelRoutes())

    def drop_model(self, name: str) -> None:
        """Forget a model that has neither versions nor configuration."""
        self._models.pop(name, None)

    def note_change(self, plan_offset: int) -> None:
        """Route by what is there now, as of this control record; the manager's, after a change."""
        self._plan_offset = plan_offset
        self._choices.clear()
        self._has_changed.set()
        self._has_changed = asyncio.Event()

    def is_split(self, model: str) -> bool:
        """Whether a model's requests that name neither version nor label are split."""
        routes = self._models.get(model)
        return routes is not None and routes.split is not None

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model that are AVAILABLE, lowest first."""
        routes = self._models.get(model)
        return sorted(routes.serving) if routes is not None else []

    def route_of(self, model: str, arm: str) -> Route:
        """Return the route that an arm of a model's split, or its shadow's target, stands for.

        Raises:
            ValueError: it stands for none, in words.
        """
        routes = self._models.get(model)
        return route_of_arm(arm, model, routes.labels if routes is not None else ())

    def acquire(self, route: Route, affinity: bytes | None = None) -> Handle:
        """Return a loan of the version that `route` means now.

        The order is: explicit version, label, traffic split, highest AVAILABLE wanted version.

        Args:
            route: what the request names.
            affinity: requests with equal bytes get the same arm of a traffic split.

        Raises:
            ServableNotFound: no such model or version is wanted on this node.
            ServableNotReady: it is wanted and not AVAILABLE yet.
            UnknownLabel: the model has no such label.
            AliasLoop: the arms of splits lead back to where they began.
        """
        return Handle(self._choice(route, self._find(route, affinity, (), is_exact=False)))

    async def acquire_at(
        self,
        min_offset: int,
        route: Route,
        affinity: bytes | None = None,
        *,
        deadline_seconds: float,
    ) -> Handle:
        """Return a loan of the version that `route` means as of a control record, or a later one.

        Waits for the record, and then for the version that the plan means: no other one stands in
        for it while it loads.

        Args:
            min_offset: the offset of the control record.
            route: as in `acquire`.
            affinity: as in `acquire`.
            deadline_seconds: until when to wait, as `time.monotonic()` tells it.

        Raises:
            PlanNotReached: it was not there by then, or has failed here.
            RequestError: as `acquire`.

        Cancellation: nothing is left behind.
        """
        why = ""
        with suppress(TimeoutError):
            while True:
                has_changed = self._has_changed
                if self._plan_offset >= min_offset:
                    try:
                        found = self._find(route, affinity, (), is_exact=True)
                        return Handle(self._choice(route, found))
                    except ServableNotReady as error:
                        why = f": {error}"
                left_seconds = deadline_seconds - time.monotonic()
                async with asyncio.timeout(left_seconds):
                    await has_changed.wait()
        raise PlanNotReached(
            f"the request wants control offset {min_offset} or later, and this node has come to "
            f"{self._plan_offset}{why}"
        )

    def _choice(self, route: Route, found: _Found) -> Choice:
        """Return the one choice that stands for all requests that are routed alike."""
        known = self._choices.get((route.model, found))
        if known is None:
            known = self._choices[route.model, found] = Choice(
                found.serving,
                found.reason,
                found.arm,
                self._plan_offset,
                self._mirrored(route.model, found.serving),
            )
        return known

    def _mirrored(self, asked: str, serving: Serving) -> Mirrored | None:
        """Return what mirrors requests: of the name they ask, else of the model that answers."""
        if self._mirror is None:
            return None
        for name in (asked, serving.id.model):
            routes = self._models.get(name)
            if routes is not None and routes.shadow is not None:
                return Mirrored(name, routes.shadow, self._mirror)
        return None

    def _find(
        self, route: Route, affinity: bytes | None, trail: tuple[str, ...], *, is_exact: bool
    ) -> _Found:
        """Return what a route leads to; with `is_exact`, only what the plan means by it.

        `trail` are the names whose splits led here.
        """
        name = route.model
        model = self._models.get(name)
        if route.version is not None:
            return _Found(_exactly(model, route, route.version, is_exact=is_exact), Reason.VERSION)
        if route.label is not None:
            return _Found(_labelled(model, route, route.label, is_exact=is_exact), Reason.LABEL)
        if model is None:
            raise ServableNotFound(f"Servable not found for request: Latest({name})")
        # An arm that names its own model means the model's versions.
        if model.split is not None and (not trail or trail[-1] != name):
            return self._split(model.split, name, affinity, trail, is_exact=is_exact)
        return _Found(_latest(model, name, is_exact=is_exact), Reason.LATEST)

    def _split(
        self,
        split: Split,
        name: str,
        affinity: bytes | None,
        trail: tuple[str, ...],
        *,
        is_exact: bool,
    ) -> _Found:
        """Return what the arm whose turn it is leads to, else the largest arm that serves."""
        if name in trail:
            raise AliasLoop(
                f"the arms of {name!r} lead back to it ({' → '.join((*trail, name))}): change the "
                f"split of one of them with 'headrace config {name} --split …'"
            )
        trail = (*trail, name)
        chosen = split.choose(affinity)
        try:
            return self._arm(split, chosen, Reason.SPLIT, affinity, trail, is_exact=is_exact)
        except (ServableNotFound, ServableNotReady, UnknownLabel):
            if is_exact:
                raise
            for arm in split.arms:
                if arm != chosen:
                    with suppress(RequestError):
                        return self._arm(
                            split, arm, Reason.STANDBY, affinity, trail, is_exact=False
                        )
            raise

    def _arm(
        self,
        split: Split,
        arm: str,
        reason: Reason,
        affinity: bytes | None,
        trail: tuple[str, ...],
        *,
        is_exact: bool,
    ) -> _Found:
        route = split.route(arm)
        if route is None:
            raise ServableNotFound(f"the split of {trail[-1]} has an arm {arm!r:.80} that is none")
        found = self._find(route, affinity, trail, is_exact=is_exact)
        if found.reason is Reason.STANDBY:
            reason = Reason.STANDBY
        return _Found(found.serving, reason, f"{arm}/{found.arm}" if found.arm else arm)


def _exactly(
    model: ModelRoutes | None, route: Route, version: int, *, is_exact: bool = False
) -> Serving:
    serving = model.serving.get(version) if model else None
    if serving is not None and not (is_exact and _is_outdated(model, serving)):
        return serving
    if model and version in model.coming:
        raise ServableNotReady(f"{route.model} version {version} is still loading")
    if model and is_exact and version in model.planned:
        raise ServableNotReady(f"{route.model} version {version} does not serve on this node")
    raise ServableNotFound(f"Servable not found for request: Specific({route.model}, {version})")


def _is_outdated(model: ModelRoutes | None, serving: Serving) -> bool:
    """Whether the plan means other bytes by this version number."""
    newest = model.planned.get(serving.id.version, -1) if model else -1
    return serving.planned.control_offset < newest


def _labelled(model: ModelRoutes | None, route: Route, label: str, *, is_exact: bool) -> Serving:
    if model is None or label not in model.labels:
        known = ", ".join(sorted(model.labels)) if model and model.labels else "none"
        raise UnknownLabel(
            f"Unrecognized servable version label: {label!r} of model {route.model}; "
            f"its labels are: {known}"
        )
    target = model.labels[label]
    version = target if is_exact else model.bound.get(label, target)
    return _exactly(model, route, version, is_exact=is_exact)


def _latest(model: ModelRoutes, name: str, *, is_exact: bool) -> Serving:
    if is_exact and model.planned:
        return _exactly(model, Route(name), max(model.planned), is_exact=True)
    if len(model.serving) == 1:
        return next(iter(model.serving.values()))
    available = model.serving.keys() & model.wanted or model.serving.keys()
    if available:
        return model.serving[max(available)]
    if model.coming:
        raise ServableNotReady(f"{name} is loading version {max(model.coming)} and serves none yet")
    raise ServableNotFound(f"Servable not found for request: Latest({name})")
