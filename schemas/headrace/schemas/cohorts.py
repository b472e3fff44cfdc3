"""Which arm of a traffic split a key takes: keys fall into buckets, and arms own buckets.

A split's weights alone cannot say which keys stay when the weights change, so the log carries the
buckets. Whoever changes a split works them out from the ones before: no bucket changes its arm
unless that arm has more buckets than its new weight gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby, repeat
from typing import Final

from headrace.schemas.records import Cohort

BUCKETS: Final = 10_000
"""How many buckets there are: a weight counts in steps of a hundredth of a per cent."""


def allocate(split: Mapping[str, int], previous: Sequence[Cohort] = ()) -> tuple[Cohort, ...]:
    """Return the buckets of the arms, moving as few of the previous ones as the weights allow.

    Args:
        split: arm to weight; only the ratios matter. Without a positive one there is no cohort.
        previous: what the buckets were; what does not add up to all buckets counts as none.

    Source: shares in whole buckets by the largest remainder method (Hamilton).
    """
    shares = _shares(split)
    if not shares:
        return ()
    room = dict(shares)
    arms: list[str | None] = []
    for arm in _spread(previous):
        is_kept = room.get(arm, 0) > 0
        arms.append(arm if is_kept else None)
        if is_kept:
            room[arm] -= 1
    vacant = chain.from_iterable(repeat(arm, room[arm]) for arm in shares)
    return runs(next(vacant) if arm is None else arm for arm in arms or repeat(None, BUCKETS))


def runs(arms: Iterable[str]) -> tuple[Cohort, ...]:
    """Return the arms of neighbouring buckets as cohorts: what `table` makes of them, undone."""
    return tuple(Cohort(arm=arm, buckets=len(list(run))) for arm, run in groupby(arms))


def table(split: Mapping[str, int], cohorts: Sequence[Cohort]) -> list[str]:
    """Return the arm of each bucket; without usable cohorts, as `allocate` makes them afresh.

    Cohorts are usable when they cover all buckets with arms that have a weight.
    """
    arms = _spread(cohorts)
    known = {arm for arm, weight in split.items() if weight > 0}
    if arms and known.issuperset(arms):
        return arms
    return _spread(allocate(split))


def _spread(cohorts: Sequence[Cohort]) -> list[str]:
    """Return one arm per bucket, or nothing when the cohorts do not add up to all buckets."""
    # Compared before anything is made: a hostile record may claim any number.
    counts = [cohort.buckets for cohort in cohorts]
    if sum(counts) != BUCKETS or min(counts) < 1:
        return []
    return list(chain.from_iterable(repeat(one.arm, one.buckets) for one in cohorts))


def _shares(split: Mapping[str, int]) -> dict[str, int]:
    """Return how many buckets each arm gets, by arm in order of name."""
    weights = {arm: split[arm] for arm in sorted(split) if split[arm] > 0}
    total = sum(weights.values())
    shares = {arm: weight * BUCKETS // total for arm, weight in weights.items()}
    missing = BUCKETS - sum(shares.values()) if shares else 0
    by_remainder = sorted(weights, key=lambda arm: (-(weights[arm] * BUCKETS % total), arm))
    for arm in by_remainder[:missing]:
        shares[arm] += 1
    return shares
