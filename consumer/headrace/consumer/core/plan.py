"""The plan: what the control log says should be served.

`fold` is a pure function of the records: no clock, no I/O. Two nodes at the same offset have equal
plans, and a compacted log gives the same plan as the whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from headrace.schemas.records import Lifecycle, ModelConfig, ModelVersion
from headrace.schemas.wanted import wanted


@dataclass(frozen=True, slots=True)
class PlannedVersion:
    """A version as the log describes it, and the offset of the record that brought it."""

    record: ModelVersion
    control_offset: int


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """Everything the log says of one model."""

    name: str
    versions: Mapping[int, PlannedVersion] = field(default_factory=dict[int, PlannedVersion])
    config: ModelConfig | None = None

    def wanted(self, failed: Iterable[int] = ()) -> frozenset[int]:
        """Return the version numbers that the configuration asks for.

        `failed` are versions that this node cannot serve; see `headrace.schemas.wanted`.
        """
        published = [
            n for n, v in self.versions.items() if v.record.lifecycle is Lifecycle.PUBLISHED
        ]
        return wanted(self.config or ModelConfig(model=self.name), published, failed)


class ControlEvent(NamedTuple):
    """One readable record of the control log; `record` is None for a tombstone."""

    offset: int
    key: bytes
    record: ModelVersion | ModelConfig | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be served as of `offset` (the last record folded; -1 before the first)."""

    offset: int = -1
    models: Mapping[str, PlannedModel] = field(default_factory=dict[str, PlannedModel])


def fold(plan: Plan, events: Iterable[ControlEvent]) -> Plan:
    """Return the plan after `events`; `plan` itself is not changed.

    Costs one copy of the table of models per call, not per event, and one copy of each touched
    model's table of versions.
    """
    models = dict(plan.models)
    fresh: dict[str, dict[int, PlannedVersion]] = {}
    offset = plan.offset

    def versions_of(name: str) -> dict[int, PlannedVersion]:
        if name not in fresh:
            known = models.get(name) or PlannedModel(name)
            fresh[name] = dict(known.versions)
            models[name] = replace(known, versions=fresh[name])
        return fresh[name]

    for event in events:
        offset = max(offset, event.offset)
        match event.record:
            case ModelVersion() as version:
                planned = PlannedVersion(version, event.offset)
                versions_of(version.model)[version.version] = planned
            case ModelConfig() as config:
                versions_of(config.model)
                models[config.model] = replace(models[config.model], config=config)
            case None:
                _forget(event.key, models, versions_of)
    for name in fresh:
        if not models[name].versions and models[name].config is None:
            del models[name]
    return Plan(offset, models)


def _forget(
    key: bytes,
    models: dict[str, PlannedModel],
    versions_of: Callable[[str], dict[int, PlannedVersion]],
) -> None:
    """Apply a tombstone: `version/<model>/<version>` or `model/<model>`."""
    match key.decode(errors="replace").split("/"):
        case ["version", model, number] if model in models and number.isdecimal():
            versions_of(model).pop(int(number), None)
        case ["model", model] if model in models:
            versions_of(model)
            models[model] = replace(models[model], config=None)
        case _:
            pass  # A tombstone for a key that we never met leaves nothing to forget.
