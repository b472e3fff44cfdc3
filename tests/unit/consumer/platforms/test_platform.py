"""Signatures, and platforms by name."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from headrace.consumer.core.errors import ModelRejected
from headrace.consumer.platforms.installed import platform_named
from headrace.consumer.platforms.platform import Signature, TensorSpec


def spec(*shape: int | None) -> TensorSpec:
    """Return a spec of this shape."""
    return TensorSpec("x", np.dtype(np.float32), shape)


UNKNOWN = TensorSpec("x", np.dtype(np.float32), None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "is_batchable"),
    [
        ([spec(None)], [spec(None, 3)], True),
        ([spec(None), spec(None, None)], [spec(None)], True),
        ([spec(None), spec(3)], [spec(None)], False),
        ([spec(None)], [spec()], False),
        ([UNKNOWN], [spec(None)], False),
        ([spec(1, None)], [spec(None)], False),
        ([], [spec(None)], False),
    ],
)
def test_batchable_is_what_declares_rows_everywhere(
    inputs: list[TensorSpec], outputs: list[TensorSpec], is_batchable: bool
) -> None:
    """One tensor without an unknown first dimension makes the signature run request by request."""
    signature = Signature("s", dict(aliased(inputs)), dict(aliased(outputs)))
    assert signature.is_batchable is is_batchable


def aliased(specs: list[TensorSpec]) -> list[tuple[str, TensorSpec]]:
    """Return the specs with an alias each."""
    return [(f"x{n}", each) for n, each in enumerate(specs)]


def test_unknown_platforms_are_refused_with_the_known_ones() -> None:
    """The text says what could have been asked for."""
    with pytest.raises(ModelRejected, match=r"'caffe' is not known here; .*: onnx, python, tensor"):
        platform_named("caffe")


def test_a_platform_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without TensorFlow the text names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "headrace.consumer.platforms.saved_model", raising=False)
    with pytest.raises(ModelRejected, match=r"cannot be imported: .*install headrace\[serving\]"):
        platform_named("tensorflow")
