"""Which versions the log knows, and which of them do not serve here, and why.

Pure: made of the plan and of what the monitor remembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import Plan, PlannedModel, PlannedVersion
from headrace.consumer.core.repository import Listed
from headrace.publisher.configuration import policy_words
from headrace.schemas.records import Lifecycle, PolicyKind, ServableState, VersionPolicy

_AVAILABLE: Final = ServableState.AVAILABLE
_SPECIFIC: Final = PolicyKind.SPECIFIC


def list_versions(plan: Plan, monitor: Monitor) -> Sequence[Listed]:
    """Return every version that the log knows, by model and version."""
    return [one for name in sorted(plan.models) for one in _of_model(plan.models[name], monitor)]


def faults(plan: Plan, monitor: Monitor, models: Iterable[str]) -> dict[str, str]:
    """Return, by model, why this node does not serve all versions that are wanted of it."""
    found: dict[str, str] = {}
    for name in models:
        model = plan.models.get(name) or PlannedModel(name)
        wanted = model.wanted()
        lacking = [
            f"version {one.version}: {one.reason or (one.state or 'not begun').lower()}"
            for one in _of_model(model, monitor)
            if one.version in wanted and one.state is not _AVAILABLE
        ]
        if lacking or not wanted:
            found[name] = "; ".join(lacking) or f"policy {_policy(model)} wants no version of it"
    return found


def to_load(model: PlannedModel, monitor: Monitor) -> Sequence[int]:
    """Return the versions whose records, written again, bring the model back.

    Those that are wanted and failed here; with nothing published, the highest that was retired.
    """
    if any(_is_published(version) for version in model.versions.values()):
        listed = _of_model(model, monitor)
        ended = {one.version for one in listed if one.state is ServableState.END}
        return sorted(ended & model.wanted())
    policy = model.config.policy if model.config else VersionPolicy()
    named = model.versions.keys() & (policy.versions if policy.kind is _SPECIFIC else ())
    return [max(named or model.versions)]


def _of_model(model: PlannedModel, monitor: Monitor) -> Iterable[Listed]:
    statuses = {status.version: status for status in monitor.versions(model.name)}
    wanted = model.wanted()
    for number in sorted(model.versions):
        status = statuses.get(number)
        state = status.state if status else None
        reason = status.error if status else None
        if reason is None and state in {None, ServableState.END}:
            if not _is_published(model.versions[number]):
                reason = "retired"
            elif number not in wanted:
                reason = f"not wanted by policy {_policy(model)}"
        yield Listed(model.name, number, state, reason or "")


def _is_published(version: PlannedVersion) -> bool:
    return version.record.lifecycle is Lifecycle.PUBLISHED


def _policy(model: PlannedModel) -> str:
    return policy_words(model.config.policy if model.config else VersionPolicy())
