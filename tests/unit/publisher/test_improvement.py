"""When a metric has improved."""

from __future__ import annotations

import math

import pytest

from headrace.publisher import InvalidArgument
from headrace.publisher.improvement import Improvement, Mode


@pytest.mark.parametrize(
    ("monitor", "mode", "better", "worse"),
    [
        ("val_loss", "auto", 0.9, 1.1),
        ("loss", "auto", 0.9, 1.1),
        ("mean_squared_error", "auto", 0.9, 1.1),
        ("val_mae", "auto", 0.9, 1.1),
        ("val_sparse_categorical_accuracy", "auto", 1.1, 0.9),
        ("acc", "auto", 1.1, 0.9),
        ("val_auc_1", "auto", 1.1, 0.9),
        ("f1_score", "auto", 1.1, 0.9),
        ("perplexity", "min", 0.9, 1.1),
        ("loss", "max", 1.1, 0.9),
    ],
)
def test_direction_follows_from_mode_or_name(
    monitor: str, mode: Mode, better: float, worse: float
) -> None:
    """What is said comes before what the name tells."""
    improvement = Improvement(monitor, mode, best=1.0)
    assert improvement.is_better(better)
    assert not improvement.is_better(worse)
    assert not improvement.is_better(1.0)


@pytest.mark.parametrize("monitor", ["perplexity", "val_gain", "lossy", "val_"])
def test_refuses_to_guess_a_direction(monitor: str) -> None:
    """A wrong guess would publish the worst epochs."""
    with pytest.raises(InvalidArgument, match="say mode='max' or mode='min'"):
        Improvement(monitor, "auto")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("best", [None, 1.0])
def test_a_value_that_is_not_finite_never_improves(
    value: float, mode: Mode, best: float | None
) -> None:
    """Also as the first value there is."""
    assert not Improvement("x", mode, best=best).is_better(value)


def test_small_gains_do_not_count() -> None:
    """A gain has to be more than `min_delta`."""
    improvement = Improvement("loss", "auto", min_delta=0.25, best=1.0)
    assert not improvement.is_better(0.75)
    assert improvement.is_better(0.7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "lowest"}, "give 'auto', 'min' or 'max'"),
        ({"mode": "min", "min_delta": -1.0}, "min_delta -1.0"),
        ({"mode": "min", "min_delta": math.nan}, "min_delta nan"),
        ({"mode": "min", "best": math.nan}, "better_than nan"),
    ],
)
def test_refuses_what_makes_no_sense(arguments: dict[str, str | float], words: str) -> None:
    """Before an hour of training, not after it."""
    with pytest.raises(InvalidArgument, match=words):
        Improvement("loss", **arguments)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
