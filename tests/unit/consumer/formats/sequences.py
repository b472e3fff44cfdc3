"""A model of sequences of any length, elementwise throughout, and a diary of what it was fed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import Array, PlatformError, Signature
from tests.unit.consumer.formats.arithmetic import signature

CLASSES: Final = 5

IDS = signature(
    "serving_default",
    {"ids": (np.int64, (None, None))},
    {"doubled": (np.int64, (None, None)), "scores": (np.int64, (None, None))},
)
TEXT = signature("text", {"text": (object, (None, None))}, {"upper": (object, (None, None))})
PAIR = signature(
    "pair",
    {"a": (np.int64, (None, None)), "b": (np.int64, (None, None))},
    {"left": (np.int64, (None, None)), "right": (np.int64, (None, None))},
)
IMAGE = signature(
    "image",
    {"x": (np.float32, (None, None, None, 3))},
    {"y": (np.float32, (None, None, None, 3)), "turned": (np.float32, (None, None, None, 3))},
)
HALVED = signature("halved", {"ids": (np.int64, (None, None))}, {"y": (np.int64, (None, None))})


class Sequences:
    """A model of numpy functions. A negative id makes a run fail.

    `scores` has one length whatever goes in, `y` of "halved" has half the length of its input.

    **Concurrency:** one caller at a time.
    """

    signature_def = b""

    def __init__(self) -> None:
        self.fed: list[dict[str, Array]] = []
        self.signatures: Mapping[str, Signature] = {
            each.name: each for each in (IDS, TEXT, PAIR, IMAGE, HALVED)
        }

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of the first input of each run."""
        return [next(iter(inputs.values())).shape for inputs in self.fed]

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,  # noqa: ARG002 - the protocol's
    ) -> dict[str, Array]:
        """Compute the outputs."""
        self.fed.append({alias: inputs[alias] for alias in self.signatures[signature].inputs})
        every: dict[str, Array]
        match signature:
            case "text":
                every = {"upper": np.vectorize(bytes.upper, otypes=[object])(inputs["text"])}
            case "pair":
                every = {"left": inputs["a"] * 2, "right": inputs["b"] + 1}
            case "image":
                every = {"y": inputs["x"] / 2, "turned": inputs["x"].swapaxes(1, 2)}
            case "halved":
                every = {"y": inputs["ids"][:, ::2]}
            case _:
                ids = inputs["ids"]
                if ids.ndim != 2 or (ids < 0).any():
                    raise PlatformError(Code.INVALID_ARGUMENT, "there is no such id")
                firsts = ids[:, :1] if ids.size else np.zeros((len(ids), 1), np.int64)
                every = {"doubled": ids * 2, "scores": firsts + np.arange(CLASSES)}
        return {alias: every[alias] for alias in outputs}

    def recorded_calls(self) -> Iterator[Calls | None]:
        """There are none."""
        return iter(())
