"""What the control log wanted, record by record: folded here a second time and simply.

Pure. Shares the records with the product, and none of its thinking: plan, policy, cohorts and arms
are worked out again from what the documentation says of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

from headrace.publisher.history import ControlEntry
from headrace.schemas.records import Lifecycle, ModelConfig, ModelVersion, PolicyKind

BUCKETS: Final = 10_000

Leaf = tuple[str, int | str | None]
"""A model, and the version or the label of it that is meant; None is whatever is the latest."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the log wants of one model: every published version with its offset, and how."""

    config: ModelConfig
    published: Mapping[int, int] = field(default_factory=dict[int, int])

    @property
    def wanted(self) -> frozenset[int]:
        """The versions that are to serve."""
        numbers, policy = sorted(self.published), self.config.policy
        if policy.kind is PolicyKind.ALL:
            return frozenset(numbers)
        chosen = (
            policy.versions if policy.kind is PolicyKind.SPECIFIC else numbers[-policy.latest :]
        )
        leaves = [leaf(self.config, arm) for arm in weighted(self.config)]
        named = {of for model, of in leaves if model == self.config.model and isinstance(of, int)}
        return frozenset({*chosen, *named, *self.config.labels.values()} & self.published.keys())


Fleet = Mapping[str, Wishes]


class History:
    """The fleet's wishes as of each control record."""

    def __init__(self, entries: Sequence[ControlEntry]) -> None:
        self._offsets = [entry.offset for entry in entries]
        self._after: list[Fleet] = []
        fleet: dict[str, Wishes] = {}
        for entry in entries:
            fleet = _after(fleet, entry)
            self._after.append(fleet)
        self._events = {
            entry.offset: entry.record
            for entry in entries
            if isinstance(entry.record, ModelVersion)
        }

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._offsets, offset)
        return index > 0 and self._offsets[index - 1] == offset

    def at(self, offset: int) -> Fleet:
        """Return what was wanted as of a record."""
        index = bisect_right(self._offsets, offset)
        return self._after[index - 1] if index else {}

    def between(self, first: int, last: int) -> Iterator[Fleet]:
        """Return what was wanted as of every record from `first` to `last`, in order."""
        begin = max(bisect_right(self._offsets, first) - 1, 0)
        return iter(self._after[begin : bisect_right(self._offsets, last)])

    def event(self, offset: int) -> ModelVersion | None:
        """Return the version that a record published."""
        return self._events.get(offset)


def _after(fleet: Mapping[str, Wishes], entry: ControlEntry) -> dict[str, Wishes]:
    record = entry.record
    if not isinstance(record, ModelVersion | ModelConfig):
        raise TypeError(f"offset {entry.offset} is {record!r}: this fold knows no such record")
    before = fleet.get(record.model, Wishes(ModelConfig(model=record.model)))
    if isinstance(record, ModelConfig):
        return {**fleet, record.model: replace(before, config=record)}
    published = {n: offset for n, offset in before.published.items() if n != record.version}
    if record.lifecycle is Lifecycle.PUBLISHED:
        published[record.version] = entry.offset
    return {**fleet, record.model: replace(before, published=published)}


def weighted(config: ModelConfig) -> list[str]:
    """Return the arms of a split that have a share."""
    return [arm for arm, weight in config.split.items() if weight > 0]


def leaf(config: ModelConfig, arm: str) -> Leaf:
    """Return what an arm of a split stands for."""
    model, _, of = arm.partition("@")
    if of:
        return model, int(of) if of.isdecimal() else of
    if arm in config.labels:
        return config.model, arm
    return (config.model, int(arm)) if arm.isdecimal() else (arm, None)


def own_arm(config: ModelConfig, affinity: bytes) -> str:
    """Return the arm whose cohort a key is in."""
    person = blake2b(config.model.encode(), digest_size=16).digest()
    digest = blake2b(affinity, digest_size=8, person=person).digest()
    bucket = int.from_bytes(digest) * BUCKETS // 2**64
    for cohort in config.cohorts:
        bucket -= cohort.buckets
        if bucket < 0:
            return cohort.arm
    raise ValueError(f"the cohorts of {config.model} end {bucket + 1} buckets too early")
