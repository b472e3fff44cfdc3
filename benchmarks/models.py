"""The SavedModels that the benchmarks serve, written by the real TensorFlow in its own process.

    half_plus_two      x float32 [n] → y = 0.5 x + 2
    half_plus_two_784  x float32 [n, 784] → y = 0.5 x + 2
    half_plus_two_slow the same as the first, with work for each value that makes it slow
    digits             image float32 [n, 64] → scores float32 [n, 10], class int64 [n]; Keras, the
                       quickstart's network
    big                x float32 [n] → y; carries 100 MB of variables, five of 20 MB

`python -m benchmarks.models FOLDER NAME…` writes them.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.children import running

_SLOW_STEPS: Final = 10_000
_SLOW_ROUNDS: Final = 24
_BIG_PARTS: Final = 5
_BIG_PART_FLOATS: Final = 5_000_000


async def build(folder: Path, *names: str) -> dict[str, Path]:
    """Write models in a process of their own and return their folders by name."""
    root = folder / "models"
    async with running("benchmarks.models", [str(root), *names], folder) as child:
        await child.finish()
    return {name: root / name for name in names}


def variant(model: Path, number: int) -> Path:
    """Return a copy of a model whose bytes, and so whose digest, are its own."""
    copy = model.with_name(f"{model.name}-{number}")
    shutil.copytree(model, copy)
    extra = copy / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "build").write_text(f"{number}\n", "ascii")
    return copy


def _half_plus_two(folder: Path) -> None:
    _save_half_plus_two(folder, [None])


def _half_plus_two_784(folder: Path) -> None:
    _save_half_plus_two(folder, [None, 784])


def _save_half_plus_two(folder: Path, shape: Sequence[int | None]) -> None:
    tf: Any = importlib.import_module("tensorflow")
    module = tf.Module()
    module.half, module.two = tf.Variable(0.5), tf.Variable(2.0)
    spec = [tf.TensorSpec(shape, tf.float32, name="x")]

    def run(x: object) -> dict[str, object]:
        return {"y": module.half * x + module.two}

    serve = tf.function(run, input_signature=spec)
    tf.saved_model.save(module, str(folder), {"serving_default": serve})


def _half_plus_two_slow(folder: Path) -> None:
    tf: Any = importlib.import_module("tensorflow")
    module = tf.Module()
    module.steps = tf.Variable(tf.linspace(0.0, 1.0, _SLOW_STEPS))
    spec = [tf.TensorSpec([None], tf.float32, name="x")]

    def run(x: Any) -> dict[str, object]:  # noqa: ANN401 - TensorFlow has no types
        # As much for each value however many there are, so that batches save nothing.
        work = tf.expand_dims(x, 1) * module.steps
        for _ in range(_SLOW_ROUNDS):
            work = tf.math.sin(work)
        return {"y": 0.5 * x + 2.0 + 1e-9 * tf.reduce_mean(work, axis=1)}

    serve = tf.function(run, input_signature=spec)
    tf.saved_model.save(module, str(folder), {"serving_default": serve})


def _digits(folder: Path) -> None:
    from headrace.cli.quickstart.classifier import Classifier  # noqa: PLC0415 - imports Keras
    from headrace.cli.quickstart.digits import Digits  # noqa: PLC0415

    # Untrained: what it answers is not measured, how long it takes does not depend on it.
    blank = Digits(np.zeros((32, 64), np.float32), np.zeros(32, np.int64))
    Classifier(blank).export(folder)


def _big(folder: Path) -> None:
    tf: Any = importlib.import_module("tensorflow")
    module = tf.Module()
    module.parts = [
        tf.Variable(tf.random.stateless_normal([_BIG_PART_FLOATS], [1, number]))
        for number in range(_BIG_PARTS)
    ]
    spec = [tf.TensorSpec([None], tf.float32, name="x")]

    def run(x: object) -> dict[str, object]:
        # Every variable is read whole on each call, so that all of the model's memory is touched.
        return {"y": x + tf.add_n([tf.reduce_sum(part) for part in module.parts])}

    serve = tf.function(run, input_signature=spec)
    tf.saved_model.save(module, str(folder), {"serving_default": serve})


_BUILDS: Final[dict[str, Callable[[Path], None]]] = {
    "half_plus_two": _half_plus_two,
    "half_plus_two_784": _half_plus_two_784,
    "half_plus_two_slow": _half_plus_two_slow,
    "digits": _digits,
    "big": _big,
}


def main(arguments: Sequence[str]) -> None:
    """Write the models that are named."""
    root = Path(arguments[0])
    root.mkdir(parents=True, exist_ok=True)
    for name in arguments[1:]:
        _BUILDS[name](root / name)


if __name__ == "__main__":
    main(sys.argv[1:])
