"""The versions that answer now, and the loans on them.

A door resolves a request to a version and borrows it for as long as it needs the answer. Unloading
waits for the loans on that one version and on nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType

from headrace.consumer.core import routing
from headrace.consumer.core.errors import ServableNotFound, ServableNotReady, UnknownLabel
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.servable import Servable
from headrace.schemas.records import Route


class Serving:
    """One AVAILABLE version: its servable, where it came from, and who has borrowed it.

    **Concurrency:** event loop only.
    """

    def __init__(self, planned: PlannedVersion, servable: Servable) -> None:
        self.id = ServableId(planned.record.model, planned.record.version)
        self.planned = planned
        self.servable = servable
        self._loans = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def borrow(self) -> None:
        """Count one more loan."""
        if not self._loans:
            self._is_idle.clear()
        self._loans += 1

    def give_back(self) -> None:
        """Count one loan less."""
        self._loans -= 1
        if not self._loans:
            self._is_idle.set()

    async def wait_idle(self) -> None:
        """Return when no loan is out."""
        await self._is_idle.wait()


class Handle:
    """A counted loan of one version, given back on leaving the `with` block.

    **Concurrency:** event loop only; use it once.
    """

    __slots__ = ("serving",)

    def __init__(self, serving: Serving) -> None:
        self.serving = serving

    def __enter__(self) -> Serving:
        self.serving.borrow()
        return self.serving

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.serving.give_back()


class ModelRoutes:
    """Where the requests for one model go, as the manager last saw it.

    `coming` are versions that are wanted and not AVAILABLE. `labels` are all configured labels;
    `bound` those whose version has been AVAILABLE at least once since the label was set, with the
    version they stand for until the next one is.
    """

    __slots__ = ("bound", "coming", "labels", "serving", "split", "wanted")

    def __init__(self) -> None:
        self.serving: dict[int, Serving] = {}
        self.coming: frozenset[int] = frozenset()
        self.wanted: frozenset[int] = frozenset()
        self.labels: Mapping[str, int] = {}
        self.bound: dict[str, int] = {}
        self.split: Mapping[str, int] = {}


class ServingMap:
    """All versions that answer now, by model.

    **Concurrency:** event loop only: a lookup never sees half a change.
    """

    def __init__(self) -> None:
        self._models: dict[str, ModelRoutes] = {}

    def model(self, name: str) -> ModelRoutes:
        """Return the routes of one model, made empty when there are none; the manager's entry."""
        return self._models.setdefault(name, ModelRoutes())

    def drop_model(self, name: str) -> None:
        """Forget a model that has neither versions nor configuration."""
        self._models.pop(name, None)

    def is_split(self, model: str) -> bool:
        """Whether a model's requests that name neither version nor label are split."""
        routes = self._models.get(model)
        return routes is not None and bool(routes.split)

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model that are AVAILABLE, lowest first."""
        routes = self._models.get(model)
        return sorted(routes.serving) if routes is not None else []

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
        """
        model = self._models.get(route.model)
        if route.version is not None:
            return _exactly(model, route, route.version)
        if route.label is not None:
            return _labelled(model, route, route.label)
        if model is None:
            raise ServableNotFound(f"Servable not found for request: Latest({route.model})")
        if model.split and (arm := routing.choose_arm(model.split, affinity)) is not None:
            serving = _arm(model, arm)
            if serving is not None:
                return Handle(serving)
        if len(model.serving) == 1:
            return Handle(next(iter(model.serving.values())))
        available = model.serving.keys() & model.wanted or model.serving.keys()
        if available:
            return Handle(model.serving[max(available)])
        if model.coming:
            raise ServableNotReady(
                f"{route.model} is loading version {max(model.coming)} and serves none yet"
            )
        raise ServableNotFound(f"Servable not found for request: Latest({route.model})")


def _exactly(model: ModelRoutes | None, route: Route, version: int) -> Handle:
    serving = model.serving.get(version) if model else None
    if serving is not None:
        return Handle(serving)
    if model and version in model.coming:
        raise ServableNotReady(f"{route.model} version {version} is still loading")
    raise ServableNotFound(f"Servable not found for request: Specific({route.model}, {version})")


def _labelled(model: ModelRoutes | None, route: Route, label: str) -> Handle:
    if model is None or label not in model.labels:
        known = ", ".join(sorted(model.labels)) if model and model.labels else "none"
        raise UnknownLabel(
            f"Unrecognized servable version label: {label!r} of model {route.model}; "
            f"its labels are: {known}"
        )
    return _exactly(model, route, model.bound.get(label, model.labels[label]))


def _arm(model: ModelRoutes, arm: str) -> Serving | None:
    """Return what an arm of the split stands for, or None while it is not AVAILABLE."""
    version = model.bound.get(arm, model.labels.get(arm))
    if version is None and arm.isdecimal():
        version = int(arm)
    return model.serving.get(version) if version is not None else None
