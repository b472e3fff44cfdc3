"""When has a metric improved? Pure; knows no Keras."""

from __future__ import annotations

import math
import re
from typing import Final, Literal

from headrace.publisher.errors import InvalidArgument

Mode = Literal["auto", "min", "max"]
_LESS_IS_BETTER: Final = re.compile(r"(.*_)?(loss|error|mse|mae|mape|msle)")
_MORE_IS_BETTER: Final = re.compile(r"(.*_)?(accuracy|acc|auc|precision|recall|score)")
_COUNTED: Final = re.compile(r"_\d+$")  # Keras calls the second AUC of a process auc_1.


class Improvement:
    """The best value of a metric so far, and whether another one is better.

    **Concurrency:** one thread.
    """

    def __init__(
        self, monitor: str, mode: Mode, *, min_delta: float = 0.0, best: float | None = None
    ) -> None:
        """Begin with `best`, or with none: then any finite value is better.

        Raises:
            InvalidArgument: the direction cannot be told by the name, or a number makes no sense.
        """
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise InvalidArgument(f"min_delta {min_delta!r} is not allowed: give 0 or more")
        if best is not None and not math.isfinite(best):
            raise InvalidArgument(f"better_than {best!r} is not allowed: give a finite number")
        self._less_is_better = _less_is_better(monitor, mode)
        self._min_delta = min_delta
        self.best = best

    def is_better(self, value: float) -> bool:
        """Whether `value` is better than the best by more than `min_delta`.

        NaN and infinities never are: a model that gives them has come apart.
        """
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self._less_is_better else value - self.best
        return gain > self._min_delta


def _less_is_better(monitor: str, mode: Mode) -> bool:
    # Training code is seldom type-checked.
    if mode not in {"auto", "min", "max"}:
        raise InvalidArgument(f"mode {mode!r} is not known: give 'auto', 'min' or 'max'")
    if mode != "auto":
        return mode == "min"
    name = _COUNTED.sub("", monitor)
    if _LESS_IS_BETTER.fullmatch(name):
        return True
    if _MORE_IS_BETTER.fullmatch(name):
        return False
    raise InvalidArgument(
        f"whether more or less of {monitor!r} is better does not follow from its name: say "
        "mode='max' or mode='min'"
    )
