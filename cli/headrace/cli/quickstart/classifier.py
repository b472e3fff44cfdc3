"""The model of the quickstart: a small Keras network that learns to read digits, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.cli.quickstart.digits import Digits

_SEED: Final = 11
_BATCH_ROWS: Final = 32
_HIDDEN_UNITS: Final = 64
_LEARNING_RATE: Final = 0.003


class Classifier:
    """A network in training.

    **Concurrency:** one thread; construction imports TensorFlow (seconds).
    """

    def __init__(self, training: Digits) -> None:
        import keras as untyped  # type: ignore[import-untyped]

        # Keras is not typed where it counts.
        keras: Any = untyped
        self._keras = keras
        keras.utils.set_random_seed(_SEED)
        self._training = training
        self._random = np.random.default_rng(_SEED)
        self.steps = 0
        model: Any = keras.Sequential(
            [
                keras.layers.Input((training.images.shape[1],)),
                keras.layers.Dense(_HIDDEN_UNITS, activation="relu"),
                keras.layers.Dense(10),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(_LEARNING_RATE),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self._model = model

    def train_to(self, steps: int) -> None:
        """Train until `steps` batches have been learnt from since the beginning."""
        while self.steps < steps:
            rows = self._random.integers(0, len(self._training), _BATCH_ROWS)
            self._model.train_on_batch(self._training.images[rows], self._training.labels[rows])
            self.steps += 1

    def accuracy(self, digits: Digits) -> float:
        """Return the share of `digits` that the network reads right."""
        scores = np.asarray(self._model(digits.images))
        return float((scores.argmax(axis=1) == digits.labels).mean())

    def export(self, folder: Path) -> None:
        """Write the network as a SavedModel with one signature, `serving_default`.

        Shapes: input `image` `(rows, 64) float32`; outputs `scores` `(rows, 10) float32`, which
        add up to 1, and `class` `(rows,) int64`.
        """
        import tensorflow as tf  # type: ignore[import-untyped]

        tensorflow: Any = tf
        shape = (None, self._training.images.shape[1])

        def read(image: object) -> dict[str, Any]:
            scores = tensorflow.nn.softmax(self._model(image))
            return {"scores": scores, "class": tensorflow.argmax(scores, axis=1)}

        # Not tf.saved_model.save: of a Keras 3 network it writes variables that a Session, which is
        # what TensorFlow Serving and Headrace run models in, does not find again.
        archive = self._keras.export.ExportArchive()
        archive.track(self._model)
        archive.add_endpoint(
            "serving_default",
            read,
            input_signature=[tensorflow.TensorSpec(shape, "float32", name="image")],
        )
        archive.write_out(str(folder), verbose=False)
