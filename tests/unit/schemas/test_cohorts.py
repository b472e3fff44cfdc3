"""Which buckets the arms of a split own, and what a change of weights moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from headrace.schemas.cohorts import BUCKETS, allocate, runs, table
from headrace.schemas.records import Cohort

SPLITS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1_000)).filter(
    lambda split: sum(split.values()) > 0
)


def spread(cohorts: tuple[Cohort, ...]) -> list[str]:
    """Return the arm of each bucket."""
    return [cohort.arm for cohort in cohorts for _ in range(cohort.buckets)]


@given(SPLITS, st.lists(SPLITS, max_size=4))
def test_shares_are_exact_whatever_was_before(
    split: Mapping[str, int], before: list[Mapping[str, int]]
) -> None:
    """Each arm has its share of the buckets, rounded to the one or the other side."""
    held: tuple[Cohort, ...] = ()
    for one in [*before, split]:
        held = allocate(one, held)
    counts, total = Counter(spread(held)), sum(split.values())
    assert sum(counts.values()) == BUCKETS
    assert counts == Counter(spread(allocate(split)))
    for arm, weight in split.items():
        assert abs(counts[arm] - weight * BUCKETS / total) < 1


@given(SPLITS, SPLITS)
def test_a_change_of_weights_moves_no_more_than_it_must(
    before: Mapping[str, int], after: Mapping[str, int]
) -> None:
    """Buckets leave only arms that shrank, as many as these lost, and go to arms that grew."""
    old = spread(allocate(before))
    new = spread(allocate(after, allocate(before)))
    was, now = Counter(old), Counter(new)
    moved = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    assert all(now[one] < was[one] and now[other] > was[other] for one, other in moved)
    assert len(moved) == sum(max(was[arm] - now[arm], 0) for arm in was)


@given(SPLITS)
def test_the_same_weights_move_nothing(split: Mapping[str, int]) -> None:
    """Only ratios count; what nodes route by is what was allocated."""
    held = allocate(split)
    assert allocate(split, held) == held
    assert allocate({arm: weight * 7 for arm, weight in split.items()}, held) == held
    assert runs(table(split, held)) == held


def test_what_does_not_cover_all_buckets_counts_as_none() -> None:
    """A record that no publisher of ours wrote does no harm, and costs no memory."""
    fresh = allocate({"a": 1, "b": 1})
    for held in (
        (Cohort(arm="a", buckets=1),),
        (Cohort(arm="a", buckets=10**15),),
        (Cohort(arm="a", buckets=BUCKETS + 1), Cohort(arm="b", buckets=-1)),
    ):
        assert allocate({"a": 1, "b": 1}, held) == fresh
        assert runs(table({"a": 1, "b": 1}, held)) == fresh
    assert allocate({}, fresh) == ()
    assert runs(table({}, ())) == ()
