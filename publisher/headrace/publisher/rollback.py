"""What a model served before, and the one event that brings it back.

Pure: made of the last record of each key, and so the same however much of the log was compacted.
The configuration's record carries what was served before it. What came after it, and needed no
record of its own, is told by the versions: each later publication that the policy wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from headrace.publisher.errors import InvalidArgument, NothingBefore
from headrace.publisher.known import Known
from headrace.publisher.references import check_references
from headrace.schemas.records import (
    Earlier,
    ModelConfig,
    PolicyKind,
    VersionPolicy,
    config_key,
    version_key,
)
from headrace.schemas.wanted import named, wanted

MAX_EARLIER: Final = 10
"""How many states a configuration's record carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A configuration to be written, and what it changes.

    `skipped` says in words which states a rollback passed over, and why.
    """

    config: ModelConfig
    before: Earlier
    after: Earlier
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What a model serves now, and what it served before, oldest first."""

    earlier: tuple[Earlier, ...]
    current: Earlier

    def kept(self, after: Earlier) -> tuple[Earlier, ...]:
        """Return what the record of a configuration is to carry when it makes `after` current."""
        all_ = self.earlier
        # Also when only the policy changes: whoever undoes a pin wants the one before.
        if _serves(self.current) and not _is_same(self.current, after):
            all_ = (*all_, self.current)
        return all_[-MAX_EARLIER:]


def timeline(known: Known, model: str) -> Timeline:
    """Return what the log says that the model serves and served.

    A version counts from its last record on: one that was published again, from then. Versions
    that are retired cannot be served again, so what was served with them is told only by the
    states that a record carries.
    """
    config = known.configs.get(model) or ModelConfig(model=model)
    since = known.offsets.get(config_key(model), -1)
    published = known.published(model)
    # What the configuration names was there when it was written, even if it was published again.
    there = named(config) | set(config.policy.versions)
    offsets = {n: known.offsets.get(version_key(model, n), -1) for n in published}
    there |= {n for n, offset in offsets.items() if offset < since}
    states = [*config.previous, state(config, there & published)]
    for number in sorted(published - there, key=lambda n: offsets[n]):
        there.add(number)
        states.append(state(config, there & published))
    found: list[Earlier] = []
    for one in states[:-1]:
        if _serves(one) and not (found and _is_same(found[-1], one)):
            found.append(one)
    if found and _is_same(found[-1], states[-1]):
        del found[-1]
    return Timeline(earlier=tuple(found), current=states[-1])


def state(config: ModelConfig, published: frozenset[int] | set[int]) -> Earlier:
    """Return what a configuration serves of these versions; a shadow's target is not served."""
    return Earlier(
        versions=tuple(sorted(wanted(replace(config, shadow=None), published))),
        policy=config.policy,
        labels=dict(config.labels),
        split=dict(config.split),
        cohorts=tuple(config.cohorts),
    )


def roll_back(known: Known, model: str) -> Step:
    """Return the configuration that serves again what was served before the current state.

    What lies before that state stays in the record, so that the next rollback goes further back.

    Raises:
        NothingBefore: there is nothing, or nothing that could be served again.
    """
    line = timeline(known, model)
    skipped: list[str] = []
    for depth, target in reversed(list(enumerate(line.earlier))):
        if _routes_alike(target, line.current):
            continue
        try:
            config = _restored(known, model, target)
        except InvalidArgument as error:
            skipped.append(f"{words(target)}: {error}")
            continue
        return Step(
            config=replace(config, previous=line.earlier[:depth]),
            before=line.current,
            after=state(config, known.published(model)),
            skipped=tuple(skipped),
        )
    raise NothingBefore(_nothing_words(known, model, line, skipped))


def is_rollback(known: Known, config: ModelConfig) -> bool:
    """Return whether a configuration undid what the log before it says, by what it carries."""
    line = timeline(known, config.model)
    depth = len(config.previous)
    if depth >= len(line.earlier) or tuple(config.previous) != line.earlier[:depth]:
        return False
    after = state(config, known.published(config.model))
    return _routes_alike(after, line.earlier[depth]) and not _routes_alike(after, line.current)


def words(one: Earlier) -> str:
    """Return a state in words: its versions, and what routes to them."""
    parts = ["version " + ",".join(map(str, one.versions))] if one.versions else []
    parts += [f"label {label}={version}" for label, version in sorted(one.labels.items())]
    if one.split:
        parts.append("split " + ",".join(f"{arm}={one.split[arm]}" for arm in sorted(one.split)))
    return " ".join(parts) or "nothing"


def difference(before: Earlier, after: Earlier) -> str:
    """Return in words what a step changes of what is served and routed: `3 → 2`."""

    def pairs(one: Earlier) -> tuple[str, str, str]:
        return (
            ",".join(map(str, one.versions)) or "nothing",
            ",".join(f"{k}={v}" for k, v in sorted(one.labels.items())) or "none",
            ",".join(f"{k}={v}" for k, v in sorted(one.split.items())) or "none",
        )

    named_ = zip(("", "labels ", "split "), pairs(before), pairs(after), strict=True)
    changed = [f"{name}{old} → {new}" for name, old, new in named_ if old != new]
    return "; ".join(changed) or "nothing that is served changes"


def _restored(known: Known, model: str, target: Earlier) -> ModelConfig:
    """Return the configuration that serves `target` now.

    Raises:
        InvalidArgument: something of it is not there any more.
    """
    config = replace(
        known.configs.get(model) or ModelConfig(model=model),
        policy=target.policy,
        labels=dict(target.labels),
        split=dict(target.split),
        cohorts=tuple(target.cohorts),
    )
    if target.versions and state(config, known.published(model)).versions != target.versions:
        specific = VersionPolicy(kind=PolicyKind.SPECIFIC, versions=tuple(target.versions))
        config = replace(config, policy=specific)
    check_references(config, known)
    return config


def _nothing_words(known: Known, model: str, line: Timeline, skipped: list[str]) -> str:
    if skipped:
        return (
            f"nothing that {model!r} served before can be served again: {'; '.join(skipped)}: "
            "publish what is missing again, or choose another version with 'headrace pin'"
        )
    others = sorted(known.published(model) - set(line.current.versions))
    advice = (
        f"choose one of the published versions ({', '.join(map(str, others))}) with 'headrace pin "
        f"{model} VERSION'"
        if others
        else "see 'headrace history'"
    )
    return f"the log knows nothing that {model!r} served before {words(line.current)}: {advice}"


def _serves(one: Earlier) -> bool:
    return bool(one.versions) or any(weight > 0 for weight in one.split.values())


def _routes_alike(one: Earlier, other: Earlier) -> bool:
    return (tuple(one.versions), one.labels, one.split) == (
        tuple(other.versions),
        other.labels,
        other.split,
    )


def _is_same(one: Earlier, other: Earlier) -> bool:
    return _routes_alike(one, other) and one.policy == other.policy
