"""Tiny ONNX models for tests, written by the real onnx package.

`write_onnx("half_plus_two", folder)` writes one into a folder and returns the folder.

    half_plus_two    x float32 [n, 1] → y = 0.5 x + 2
    with_weights     the same, with its weights in a file of their own
    text             text string [n] → same string [n]
    kinds            half float16 [n], flag bool [n], whole int64 [n] → the same
    endless          x float32 [n] → never
    picky            x int64 [n] → y = x, and a failure where x is 100 or more
    two_batches      x float32 [n, 1], table float32 [m, 1] → y = x + sum of table, rows = table
    brain            x bfloat16 [n] → the same, which nobody can feed
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

# Its types leave open what a path is. One name of type Any keeps that in one place.
_onnx: Any = onnx
_OPSET = 21
_IR = 10

Shape = Sequence[int | str | None]


def write_onnx(name: str, folder: Path, file: str = "model.onnx") -> Path:
    """Write a model into a folder and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(
        GRAPHS[name](), opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    _onnx.checker.check_model(model)
    if name == "with_weights":
        _onnx.save_model(
            model,
            str(folder / file),
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
    else:
        _onnx.save_model(model, str(folder / file))
    return folder


def _tensor(name: str, kind: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _half_plus_two() -> onnx.GraphProto:
    return helper.make_graph(
        [
            helper.make_node("Mul", ["x", "half"], ["m"]),
            helper.make_node("Add", ["m", "two"], ["y"]),
        ],
        "half_plus_two",
        [_tensor("x", TensorProto.FLOAT, ["n", 1])],
        [_tensor("y", TensorProto.FLOAT, ["n", 1])],
        [
            onnx.numpy_helper.from_array(np.array([0.5], np.float32), "half"),
            onnx.numpy_helper.from_array(np.array([2.0], np.float32), "two"),
        ],
    )


def _same(names: dict[str, int], symbol: str = "n") -> onnx.GraphProto:
    """Return a graph whose outputs are its inputs, under names with "same_" before them."""
    return helper.make_graph(
        [helper.make_node("Identity", [name], [f"same_{name}"]) for name in names],
        "same",
        [_tensor(name, kind, [symbol]) for name, kind in names.items()],
        [_tensor(f"same_{name}", kind, [symbol]) for name, kind in names.items()],
    )


def _text() -> onnx.GraphProto:
    return _same({"text": TensorProto.STRING})


def _kinds() -> onnx.GraphProto:
    return _same(
        {"half": TensorProto.FLOAT16, "flag": TensorProto.BOOL, "whole": TensorProto.INT64}
    )


def _brain() -> onnx.GraphProto:
    return _same({"x": TensorProto.BFLOAT16})


def _endless() -> onnx.GraphProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["v", "one"], ["next"]),
        ],
        "body",
        [
            _tensor("turn", TensorProto.INT64, []),
            _tensor("go_on", TensorProto.BOOL, []),
            _tensor("v", TensorProto.FLOAT, ["n"]),
        ],
        [_tensor("goes_on", TensorProto.BOOL, []), _tensor("next", TensorProto.FLOAT, ["n"])],
        [onnx.numpy_helper.from_array(np.array([1.0], np.float32), "one")],
    )
    # Zeros, which a node warms a model with, take no turn.
    return helper.make_graph(
        [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["starts"], to=TensorProto.BOOL),
            helper.make_node("Loop", ["", "starts", "x"], ["y"], body=body),
        ],
        "endless",
        [_tensor("x", TensorProto.FLOAT, ["n"])],
        [_tensor("y", TensorProto.FLOAT, ["n"])],
    )


def _picky() -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "picky",
        [_tensor("x", TensorProto.INT64, ["n"])],
        [_tensor("y", TensorProto.FLOAT, ["n"])],
        [onnx.numpy_helper.from_array(np.arange(100, dtype=np.float32), "table")],
    )


def _two_batches() -> onnx.GraphProto:
    return helper.make_graph(
        [
            helper.make_node("ReduceSum", ["table"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
            helper.make_node("Identity", ["table"], ["rows"]),
        ],
        "two_batches",
        [
            _tensor("x", TensorProto.FLOAT, ["n", 1]),
            _tensor("table", TensorProto.FLOAT, ["m", 1]),
        ],
        [_tensor("y", TensorProto.FLOAT, ["n", 1]), _tensor("rows", TensorProto.FLOAT, ["m", 1])],
    )


GRAPHS = {
    "half_plus_two": _half_plus_two,
    "with_weights": _half_plus_two,
    "text": _text,
    "kinds": _kinds,
    "brain": _brain,
    "endless": _endless,
    "picky": _picky,
    "two_batches": _two_batches,
}
