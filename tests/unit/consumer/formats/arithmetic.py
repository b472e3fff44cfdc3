"""A model without a platform: numpy functions under signatures, and a diary of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import Array, PlatformError, Signature, TensorSpec

Shape = tuple[int | None, ...] | None


def signature(
    name: str,
    inputs: Mapping[str, tuple[Any, Shape]],
    outputs: Mapping[str, tuple[Any, Shape]],
    defaults: Mapping[str, Array] | None = None,
) -> Signature:
    """Return a signature from aliases with dtype and shape."""
    return Signature(
        name,
        {alias: TensorSpec(alias, np.dtype(d), s) for alias, (d, s) in inputs.items()},
        {alias: TensorSpec(alias, np.dtype(d), s) for alias, (d, s) in outputs.items()},
        defaults or {},
    )


ROWS = signature(
    "serving_default",
    {"a": (np.float32, (None, 2)), "b": (np.float32, (None, None))},
    {"sum": (np.float32, (None, 2)), "first": (np.float32, (None,))},
)
SCALAR = signature("total", {"a": (np.float32, (None,))}, {"total": (np.float32, ())})
FIXED = signature("fixed", {"a": (np.int64, (3,))}, {"a": (np.int64, (3,))})
TEXT = signature("text", {"a": (object, (None,))}, {"a": (object, (None,))})
DEFAULTED = signature(
    "defaulted",
    {"a": (np.float32, (None,)), "b": (np.float32, ())},
    {"y": (np.float32, (None,))},
    {"b": np.array(1, np.float32)},
)
# Promises a row for a row, and drops the negative ones.
SHRINKING = signature("shrinking", {"a": (np.float32, (None,))}, {"y": (np.float32, (None,))})


class Arithmetic:
    """A model of numpy functions. A NaN in any input makes a run fail.

    **Concurrency:** one caller at a time.
    """

    signature_def = b""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.timeouts: list[float | None] = []
        self.before_run: Callable[[], None] = lambda: None
        self.signatures: Mapping[str, Signature] = {
            each.name: each for each in (ROWS, SCALAR, FIXED, TEXT, DEFAULTED, SHRINKING)
        }

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Array]:
        """Compute the outputs."""
        self.before_run()
        a = inputs["a"]
        self.runs.append(a.shape[0] if a.ndim else 1)
        self.timeouts.append(timeout_seconds)
        if a.dtype.kind == "f" and np.isnan(a).any():
            raise PlatformError(Code.INTERNAL, "there is a NaN")
        match signature:
            case "serving_default":
                if a.ndim != 2 or inputs["b"].ndim != 2:
                    raise PlatformError(Code.INVALID_ARGUMENT, "Cannot feed value of that shape")
                every = {"sum": a + inputs["b"][:, :1], "first": a[:, 0]}
            case "total":
                every = {"total": np.asarray(a.sum())}
            case "defaulted":
                every = {"y": a + inputs["b"]}
            case "shrinking":
                every = {"y": a[a >= 0]}
            case _:
                every = {"a": a}
        return {alias: every[alias] for alias in outputs}

    def recorded_calls(self) -> Iterator[Calls | None]:
        """There are none."""
        return iter(())
