"""Made-up inputs for the first run of a model."""

from __future__ import annotations

import numpy as np

from headrace.consumer.platforms.blank import blank_inputs
from headrace.consumer.platforms.platform import Signature, TensorSpec


def signature(**shapes: tuple[int | None, ...] | None) -> Signature:
    """Return a signature of float32 inputs, and a string input where the name is `text`."""
    specs = {
        alias: TensorSpec(alias, np.dtype(object if alias == "text" else np.float32), shape)
        for alias, shape in shapes.items()
    }
    return Signature("s", specs, {})


def test_inputs_fit_the_signature() -> None:
    """Rows where the first dimension is unknown, 1 for other unknown ones, declared sizes kept."""
    inputs = blank_inputs(signature(x=(None, None, 3), fixed=(2,), scalar=(), text=(None,)), rows=2)
    assert inputs is not None
    assert {alias: array.shape for alias, array in inputs.items()} == {
        "x": (2, 1, 3),
        "fixed": (2,),
        "scalar": (),
        "text": (2,),
    }
    assert inputs["x"].dtype == np.float32
    assert list(inputs["text"]) == [b"", b""]


def test_unknown_rank_has_no_blank() -> None:
    """Nothing can be made up for an input of which nothing is known."""
    assert blank_inputs(signature(x=(None,), anything=None)) is None
