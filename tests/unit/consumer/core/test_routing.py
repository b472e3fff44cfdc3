"""Traffic splits."""

from __future__ import annotations

from collections import Counter

import pytest

from headrace.consumer.core.routing import choose_arm


def test_same_affinity_takes_the_same_arm() -> None:
    """The arm depends on bytes and weights alone."""
    split = {"stable": 95, "canary": 5}
    assert {choose_arm(split, b"user-7") for _ in range(50)} == {choose_arm(split, b"user-7")}


def test_weights_are_respected_within_one_percent() -> None:
    """100,000 keys fall on the arms as the weights say."""
    split = {"a": 60, "b": 30, "c": 10}
    counts = Counter(choose_arm(split, str(key).encode()) for key in range(100_000))
    for arm, weight in split.items():
        assert counts[arm] / 100_000 == pytest.approx(weight / 100, abs=0.01)


def test_arms_without_weight_get_nothing() -> None:
    """Zero weight means never; a split of zeros chooses nothing."""
    assert {choose_arm({"a": 0, "b": 1}, str(i).encode()) for i in range(100)} == {"b"}
    assert choose_arm({"a": 0}, b"x") is None
    assert choose_arm({}, None) is None


def test_without_affinity_every_arm_is_met() -> None:
    """Requests that name no affinity are spread by chance."""
    assert {choose_arm({"a": 1, "b": 1}, None) for _ in range(200)} == {"a", "b"}
