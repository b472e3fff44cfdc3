"""Which version answers a request: the routes of every model as the manager last saw them.

A door resolves a request to a version and borrows it for as long as it needs the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from headrace.consumer.core.choice import Choice, Handle, Mirror, Mirrored, Reason, Serving
from headrace.consumer.core.errors import (
    AliasLoop,
    PlanNotReached,
    RequestError,
    ServableNotFound,
    ServableNotReady,
    UnknownLabel,
)
from headrace.consumer.core.routes import ModelRoutes, exactly, labelled, latest
from headrace.consumer.core.routing import Split
from headrace.schemas.arms import route_of_arm
from headrace.schemas.records import Route

_MAX_SECONDS_FOR_ANSWER: Final = 0.5


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
        # What a route and the arm whose turn it is lead to, so that it is not found out each time.
        self._known: dict[tuple[Route, str], Choice] = {}
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
        self._known.clear()
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again, also whether it may wait any longer."""
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
        routes = self._models.get(route.model)
        is_open = route.version is None and route.label is None
        split = routes.split if routes is not None and is_open else None
        turn = "" if split is None else split.choose(affinity)
        known = self._known.get((route, turn))
        if known is None:
            found = self._find(route, affinity, (), is_exact=False, turn=turn)
            known = self._choice(route, found)
            # Below an arm of an arm, it depends on the affinity as well.
            if "/" not in found.arm:
                self._known[route, turn] = known
        return Handle(known)

    def acquire_as_of(self, min_offset: int, route: Route, affinity: bytes | None = None) -> Handle:
        """Return a loan of the version that `route` means as of a control record, or a later one.

        It is the very version that the plan means: no other one stands in for it while it loads,
        nor does one that the plan has meanwhile retired.

        Args:
            min_offset: the offset of the control record.
            route: as in `acquire`.
            affinity: as in `acquire`.

        Raises:
            PlanNotReached: it is not there yet, or has failed here; the text says what is missing.
            RequestError: as `acquire`, but for versions that are still loading.
        """
        why = ""
        if self._plan_offset >= min_offset:
            try:
                return Handle(self._choice(route, self._find(route, affinity, (), is_exact=True)))
            except ServableNotReady as error:
                why = f": {error}"
        raise PlanNotReached(
            f"the request wants control offset {min_offset} or later, and this node has come to "
            f"{self._plan_offset}{why}"
        )

    async def acquire_at(
        self,
        min_offset: int,
        route: Route,
        affinity: bytes | None = None,
        *,
        deadline_seconds: float,
        may_wait: Callable[[], bool] = lambda: True,
    ) -> Handle:
        """Do as `acquire_as_of`, and wait for what is missing until shortly before a deadline.

        Enter the handle before anything else is awaited.

        Args:
            min_offset: as in `acquire_as_of`.
            route: as in `acquire`.
            affinity: as in `acquire`.
            deadline_seconds: when the answer is due, as `time.monotonic()` tells it. A tenth of
                the time, or half a second of it, is left for the answer to get to the caller.
            may_wait: whether there is still sense in waiting; who makes it false calls `wake`.

        Raises:
            PlanNotReached: it was not there in time.
            RequestError: as `acquire_as_of`.

        Cancellation: nothing is left behind.
        """
        left_seconds = deadline_seconds - time.monotonic()
        give_up_seconds = deadline_seconds - min(left_seconds / 10, _MAX_SECONDS_FOR_ANSWER)
        while True:
            has_changed = self._has_changed
            try:
                return self.acquire_as_of(min_offset, route, affinity)
            except PlanNotReached:
                left_seconds = give_up_seconds - time.monotonic()
                if left_seconds <= 0 or not may_wait():
                    raise
            with suppress(TimeoutError):
                async with asyncio.timeout(left_seconds):
                    await has_changed.wait()

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
        self,
        route: Route,
        affinity: bytes | None,
        trail: tuple[str, ...],
        *,
        is_exact: bool,
        turn: str = "",
    ) -> _Found:
        """Return what a route leads to; with `is_exact`, only what the plan means by it.

        `trail` are the names whose splits led here, `turn` the arm whose turn it is, if the split
        has been asked already.
        """
        name = route.model
        model = self._models.get(name)
        if route.version is not None:
            return _Found(exactly(model, route, route.version, is_exact=is_exact), Reason.VERSION)
        if route.label is not None:
            return _Found(labelled(model, route, route.label, is_exact=is_exact), Reason.LABEL)
        if model is None:
            raise ServableNotFound(f"Servable not found for request: Latest({name})")
        # An arm that names its own model means the model's versions.
        if model.split is not None and (not trail or trail[-1] != name):
            turn = turn or model.split.choose(affinity)
            return self._split(model.split, turn, name, affinity, trail, is_exact=is_exact)
        return _Found(latest(model, name, is_exact=is_exact), Reason.LATEST)

    def _split(
        self,
        split: Split,
        turn: str,
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
        try:
            return self._arm(split, turn, Reason.SPLIT, affinity, trail, is_exact=is_exact)
        except (ServableNotFound, ServableNotReady, UnknownLabel) as error:
            for arm in () if is_exact else split.arms:
                if arm != turn:
                    with suppress(RequestError):
                        return self._arm(
                            split, arm, Reason.STANDBY, affinity, trail, is_exact=False
                        )
            raise type(error)(f"{error} (arm {turn!r} of the split of {name})") from error

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
