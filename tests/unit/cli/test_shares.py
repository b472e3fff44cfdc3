"""Splits as people write and read them."""

from __future__ import annotations

import pytest
import typer

from headrace.cli.shares import arm_rows, parse_split
from headrace.schemas.records import ModelConfig


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("none", {}),
        ("a=95,b=5", {"a": 95, "b": 5}),
        (" a=1, b=-1", {"a": 1, "b": -1}),
        ("a=95%,b=5%", {"a": 95, "b": 5}),
        ("a=99.5%,b=0.5 %", {"a": 9950, "b": 50}),
        ("a=99.95%,m@stable=0.05%", {"a": 9995, "m@stable": 5}),
        ("a=100%,b=0%", {"a": 100, "b": 0}),
    ],
)
def test_takes_ratios_and_percentages(text: str, split: dict[str, int]) -> None:
    """Percentages become whole weights with the same ratios."""
    assert parse_split(text) == split


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a=95%,b=4%", "add up to 99%, not to 100%"),
        ("a=95%,b=5.01%", "add up to 100.01%"),
        ("a=95%,b=5", "'5' of 'b' is no percentage"),
        ("a=99.999%,b=0.001%", "'99.999%' of 'a' is no percentage"),
        ("a=-5%,b=105%", "'-5%' of 'a' is no percentage"),
        ("a=0.5,b=0.5", "'0.5' of 'a' is no whole number"),
        ("a=1,a=2", "'a' is given twice"),
        ("a=1,", "'' is not ARM=WEIGHT"),
        ("a", "'a' is not ARM=WEIGHT"),
        ("=1", "'=1' is not ARM=WEIGHT"),
    ],
)
def test_refuses_in_words_what_is_neither(text: str, words: str) -> None:
    """The message names the arm and what would be allowed."""
    with pytest.raises(typer.BadParameter, match=words):
        parse_split(text)


def test_tells_what_each_arm_stands_for() -> None:
    """The largest first; an arm without weight, and one that makes no sense, are told as well."""
    arms = ["stable", "2", "m", "other", "other@good", "other@7", "no arm"]
    config = ModelConfig(
        model="m",
        labels={"stable": 3},
        split=dict(zip(arms, [60, 20, 10, 5, 4, 1, 0], strict=True)),
    )
    assert [(row.arm, row.share_percent, row.leads_to) for row in arm_rows(config)] == [
        ("stable", 60.0, "label stable (version 3)"),
        ("2", 20.0, "version 2"),
        ("m", 10.0, "the latest version of m"),
        ("other", 5.0, "model other"),
        ("other@good", 4.0, "label good of other"),
        ("other@7", 1.0, "version 7 of other"),
        ("no arm", 0.0, "nothing"),
    ]
