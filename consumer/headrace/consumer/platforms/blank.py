"""Made-up inputs that fit a signature, for the first run of a model that brings none of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.consumer.platforms.platform import Array, Signature


def blank_inputs(signature: Signature, rows: int = 1) -> dict[str, Array] | None:
    """Return so many rows of zeros and empty strings; None when a rank is unknown.

    Shapes: `(rows, …)` where the first dimension is unknown; every other unknown dimension is 1.
    """
    inputs: dict[str, Array] = {}
    for alias, spec in signature.inputs.items():
        if spec.shape is None:
            return None
        inputs[alias] = _blank(spec.shape, spec.dtype, rows)
    return inputs


def _blank(declared: tuple[int | None, ...], dtype: np.dtype[Any], rows: int) -> Array:
    shape = [1 if size is None else size for size in declared]
    if declared and declared[0] is None:
        shape[0] = rows
    return np.full(shape, b"", object) if dtype.kind == "O" else np.zeros(shape, dtype)
