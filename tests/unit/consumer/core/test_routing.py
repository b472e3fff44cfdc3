"""Traffic splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from headrace.consumer.core.routing import Split, split_of
from headrace.schemas.cohorts import allocate
from headrace.schemas.records import ModelConfig, Route


def split(**weights: int) -> Split:
    """Return a split of model m, whose label is stable."""
    return Split(ModelConfig(model="m", labels={"stable": 1}, split=weights))


def test_same_affinity_takes_the_same_arm() -> None:
    """The arm depends on bytes, name and weights alone."""
    chosen = {split(stable=95, canary=5).choose(b"user-7") for _ in range(50)}
    assert len(chosen) == 1


def test_weights_are_respected_within_one_percent() -> None:
    """100,000 keys fall on the arms as the weights say."""
    weights = {"a": 60, "b": 30, "c": 10}
    made = split(**weights)
    counts = Counter(made.choose(str(key).encode()) for key in range(100_000))
    for arm, weight in weights.items():
        assert counts[arm] / 100_000 == pytest.approx(weight / 100, abs=0.01)


def test_arms_without_weight_get_nothing() -> None:
    """Zero weight means never; a split of zeros is none."""
    assert {split(a=0, b=1).choose(str(i).encode()) for i in range(100)} == {"b"}
    assert split_of(ModelConfig(model="m", split={"a": 0})) is None
    assert split_of(ModelConfig(model="m")) is None


def test_without_affinity_every_arm_is_met() -> None:
    """Requests that name no affinity are spread by chance."""
    assert {split(a=1, b=1).choose(None) for _ in range(200)} == {"a", "b"}


def test_experiments_do_not_share_their_cohorts() -> None:
    """Whoever meets the small arm of one model does not meet that of every other model."""
    keys = [str(key).encode() for key in range(2_000)]
    one = Split(ModelConfig(model="one", split={"a": 50, "b": 50}))
    two = Split(ModelConfig(model="two", split={"a": 50, "b": 50}))
    same = sum(one.choose(key) == two.choose(key) for key in keys)
    assert 0.4 < same / len(keys) < 0.6


@pytest.mark.parametrize(
    ("arm", "route"),
    [
        ("stable", Route("m", None, "stable")),
        ("7", Route("m", 7)),
        ("other", Route("other")),
        ("other@3", Route("other", 3)),
        ("other@canary", Route("other", None, "canary")),
        ("other@", None),
        ("@x", None),
        ("a b", None),
    ],
)
def test_arms_stand_for_labels_versions_and_models(arm: str, route: Route | None) -> None:
    """What makes no sense stands for nothing, and harms no other arm."""
    assert Split(ModelConfig(model="m", labels={"stable": 1}, split={arm: 1})).route(arm) == route


def test_a_key_moves_only_if_the_share_of_its_arm_shrank() -> None:
    """100,000 keys before and after a change of weights: those that move come from one arm."""
    before = ModelConfig(model="m", split={"a": 50, "b": 30, "c": 20})
    before = replace(before, cohorts=allocate(before.split))
    after = replace(before, split={"a": 35, "b": 40, "c": 25})
    after = replace(after, cohorts=allocate(after.split, before.cohorts))
    old, new = Split(before), Split(after)
    keys = [str(key).encode() for key in range(100_000)]
    moved = Counter(
        (was, now) for key in keys if (was := old.choose(key)) != (now := new.choose(key))
    )
    assert {was for was, _ in moved} == {"a"}
    assert moved[("a", "b")] / 100_000 == pytest.approx(0.10, abs=0.01)
    assert moved[("a", "c")] / 100_000 == pytest.approx(0.05, abs=0.01)
