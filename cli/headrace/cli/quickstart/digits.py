"""The data of the quickstart: handwritten digits, one part to learn from, one to ask about.

Source: the UCI handwritten digits that scikit-learn ships (`sklearn.datasets.load_digits`): 1,797
images of 8 × 8 pixels with 17 grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

_HELD_OUT_SHARE: Final = 0.25
_SEED: Final = 7
_MAX_GREY: Final = 16.0


@dataclass(frozen=True, slots=True)
class Digits:
    """Images and the digits that they show.

    Shapes: `images` `(digits, 64) float32` from 0 to 1; `labels` `(digits,) int64`.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def load() -> tuple[Digits, Digits]:
    """Return the digits to train on, and those held out; the same split on every call."""
    # Here and not above: it takes a second.
    from sklearn import (  # type: ignore[import-untyped]
        datasets,
        model_selection,
    )

    selection: Any = model_selection
    loaded: Any = cast("Any", datasets).load_digits()
    split: Any = selection.train_test_split(
        (loaded.data / _MAX_GREY).astype(np.float32),
        loaded.target.astype(np.int64),
        test_size=_HELD_OUT_SHARE,
        random_state=_SEED,
        stratify=loaded.target,
    )
    train_images, held_out_images, train_labels, held_out_labels = split
    return Digits(train_images, train_labels), Digits(held_out_images, held_out_labels)
