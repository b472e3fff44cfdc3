"""Where the requests for one model go: by number, by label, or to the latest version.

With `is_exact`, every lookup returns only what the plan means, and nothing that stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.consumer.core.choice import Serving
from headrace.consumer.core.errors import ServableNotFound, ServableNotReady, UnknownLabel
from headrace.consumer.core.routing import Split, split_of
from headrace.schemas.records import ModelConfig, Route, Shadow


class ModelRoutes:
    """Where the requests for one model go, as the manager last saw it.

    `wanted` are the versions that the plan wants of this node, without those that only a waiting
    label holds; `coming` are versions that are on their way to AVAILABLE. `labels` are all
    configured labels; `bound` those whose version has been AVAILABLE at least once since the label
    was set, with the version they stand for until the next one is. Of the plan, whatever becomes of
    it here: `published` are its versions with the offsets of the records that brought them,
    `planned` those that it wants. `failures` says in words why versions do not serve or have not
    loaded yet.
    """

    __slots__ = (
        "bound",
        "coming",
        "config",
        "failures",
        "labels",
        "planned",
        "published",
        "serving",
        "shadow",
        "split",
        "wanted",
    )

    def __init__(self) -> None:
        self.serving: dict[int, Serving] = {}
        self.coming: frozenset[int] = frozenset()
        self.wanted: frozenset[int] = frozenset()
        self.planned: frozenset[int] = frozenset()
        self.published: Mapping[int, int] = {}
        self.failures: Mapping[int, str] = {}
        self.labels: Mapping[str, int] = {}
        self.bound: dict[str, int] = {}
        self.split: Split | None = None
        self.shadow: Shadow | None = None
        self.config: ModelConfig | None = None

    def configure(self, config: ModelConfig) -> None:
        """Route by this configuration from now on."""
        self.config = config
        self.labels, self.split, self.shadow = config.labels, split_of(config), config.shadow


def exactly(
    model: ModelRoutes | None, route: Route, version: int, *, is_exact: bool = False
) -> Serving:
    """Return the version of that number.

    Raises:
        ServableNotFound: it is not wanted here.
        ServableNotReady: it is, and not AVAILABLE yet.
    """
    serving = model.serving.get(version) if model else None
    if model and is_exact:
        return _as_planned(model, route, version, serving)
    if serving is not None:
        return serving
    if model and version in model.coming:
        raise ServableNotReady(f"{route.model} version {version} is still loading")
    raise ServableNotFound(f"Servable not found for request: Specific({route.model}, {version})")


def _as_planned(model: ModelRoutes, route: Route, version: int, serving: Serving | None) -> Serving:
    """Return a version if it is published and has the bytes that its last event tells of."""
    newest = model.published.get(version)
    if newest is not None and serving is not None and serving.planned.control_offset >= newest:
        return serving
    is_coming = version in model.coming
    if not is_coming and version not in model.planned:
        raise ServableNotFound(
            f"Servable not found for request: Specific({route.model}, {version})"
        )
    state = "is still loading" if is_coming else "does not serve on this node"
    failure = model.failures.get(version)
    why = f" ({failure})" if failure else ""
    raise ServableNotReady(f"{route.model} version {version} {state}{why}")


def labelled(model: ModelRoutes | None, route: Route, label: str, *, is_exact: bool) -> Serving:
    """Return the version that a label stands for.

    Raises:
        UnknownLabel: there is no such label.
        RequestError: as `exactly`.
    """
    if model is None or label not in model.labels:
        known = ", ".join(sorted(model.labels)) if model and model.labels else "none"
        raise UnknownLabel(
            f"Unrecognized servable version label: {label!r} of model {route.model}; "
            f"its labels are: {known}"
        )
    target = model.labels[label]
    version = target if is_exact else model.bound.get(label, target)
    return exactly(model, route, version, is_exact=is_exact)


def latest(model: ModelRoutes, name: str, *, is_exact: bool) -> Serving:
    """Return the highest version that is wanted and AVAILABLE, else the highest that is AVAILABLE.

    Raises:
        RequestError: as `exactly`.
    """
    if is_exact:
        if model.planned:
            return exactly(model, Route(name), max(model.planned), is_exact=True)
        raise ServableNotFound(f"Servable not found for request: Latest({name})")
    if len(model.serving) == 1:
        return next(iter(model.serving.values()))
    available = model.serving.keys() & model.wanted or model.serving.keys()
    if available:
        return model.serving[max(available)]
    if model.coming:
        raise ServableNotReady(f"{name} is loading version {max(model.coming)} and serves none yet")
    raise ServableNotFound(f"Servable not found for request: Latest({name})")
