"""A tiny Keras network for tests that train: a line, learnt from points of 3 x + 1."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

import numpy as np

keras: Any = importlib.import_module("keras")  # It ships no types.
Network: TypeAlias = Any
Trained: TypeAlias = dict[str, list[float]]

X = np.linspace(-1, 1, 32, dtype=np.float32).reshape(-1, 1)
Y = 3 * X + 1


def untrained_line() -> Network:
    """Return a network of two weights (x float32 [n, 1] → output_0), trained alike each time."""
    keras.utils.set_random_seed(7)
    network = keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1)])
    network.compile(keras.optimizers.SGD(0.1), loss="mse", metrics=["mae"])
    return network


def scripted(values: list[float]) -> object:
    """Return a callback that adds a metric `scripted` to what later callbacks are told."""

    def add(epoch: int, logs: dict[str, float]) -> None:
        logs["scripted"] = values[epoch]

    return keras.callbacks.LambdaCallback(on_epoch_end=add)


def train(network: Network, *callbacks: object, epochs: int, **options: object) -> Trained:
    """Train, and return what Keras reports of each epoch."""
    trained: Trained = network.fit(
        X, Y, epochs=epochs, batch_size=32, verbose=0, callbacks=list(callbacks), **options
    ).history
    return trained
