"""SavedModels in this very process, and tensors as TensorFlow itself writes and reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.models import model

# TensorFlow starts threads and changes warnings: a process of its own keeps that out of the rest.
TENSORS = """
import ml_dtypes, numpy as np, tensorflow as tf
from headrace.consumer.formats.tensor_proto import encode_tensor_proto, from_tensor_proto
from headrace.protos.tensorflow_pb2 import TensorProto

NUMBERS = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64"
DTYPES = [np.dtype(name) for name in (NUMBERS + " complex128").split()]
for dtype in [*DTYPES, np.dtype(ml_dtypes.bfloat16), np.dtype(object)]:
    kinds = [[1, 0, 3], [[1, 1], [1, 1]], 1, np.zeros((0, 2))]
    for kind in kinds:
        array = np.array(kind).astype(dtype)
        if dtype == object:
            array = np.array([b"%d" % int(x) for x in array.ravel()], object).reshape(array.shape)
        theirs = tf.make_tensor_proto(array, dtype=tf.as_dtype(dtype), shape=array.shape)
        packed = TensorProto.FromString(theirs.SerializeToString())
        np.testing.assert_array_equal(from_tensor_proto(packed), array)
        official = type(theirs).FromString(encode_tensor_proto("y", array))
        assert not official.tensor_content
        back = tf.make_ndarray(official)
        assert back.shape == array.shape and back.dtype == array.dtype, (back, array)
        np.testing.assert_array_equal(back, array)
        runtime = tf.io.parse_tensor(official.SerializeToString(), tf.as_dtype(dtype)).numpy()
        np.testing.assert_array_equal(runtime, array)
print("checked")
"""

LOADING = """
import sys
import numpy as np
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import LoadOptions, PlatformError, platform_named

platform = platform_named("tensorflow")
platform.preload()

def load(path):
    return platform.load(path, LoadOptions(1, 1))

def failure(work):
    try:
        work()
    except PlatformError as error:
        return error.code, error.message
    raise AssertionError("nothing failed")

half, picky, sleepy, both, nothing = sys.argv[1:6]
model = load(half)
signature = model.signatures["serving_default"]
assert signature.inputs["x"].shape == (None, 1) and signature.is_batchable
y = model.run("serving_default", {"x": np.ones((2, 1), np.float32)}, ["y"], None)
assert y["y"].tolist() == [[2.5], [2.5]], y
for shape in ((2, 2), (), (3,), (2, 1, 4)):
    # As in TensorFlow Serving: the graph decides, and this one takes any.
    for _ in range(3):  # before and after it is known to be quick
        y = model.run("serving_default", {"x": np.ones(shape, np.float32)}, ["y"], 1.0)["y"]
        assert y.shape == shape and (y == 2.5).all(), y
code, words = failure(
    lambda: load(picky).run("serving_default", {"x": np.full(1, 1e3, np.float32)}, ["y"], 5.0)
)
assert code is Code.INVALID_ARGUMENT and "x is too large" in words and "node" not in words, words
model = load(sleepy)
endless = {"seconds": np.full(1, 1e9, np.float32)}
code, words = failure(lambda: model.run("serving_default", endless, ["seconds"], 0.05))
assert code is Code.DEADLINE_EXCEEDED, words
model = load(both)
ones = np.ones((1, 3), np.float32)
assert list(model.run("serving_default", {"a": ones, "b": ones}, ["sum"], 1.0)) == ["sum"]
unlike = {"a": np.ones((2, 3), np.float32), "b": np.ones((5, 3), np.float32)}
for _ in range(3):
    code, words = failure(lambda: model.run("serving_default", unlike, ["sum"], 1.0))
    assert code is Code.INVALID_ARGUMENT and "ncompatible shapes" in words, words
code, words = failure(lambda: load(nothing))
assert code is Code.FAILED_PRECONDITION and "no signature to serve" in words, words
code, words = failure(lambda: load("/nowhere"))
assert "/nowhere" in words, words
print("checked")
"""


def run(script: str, *arguments: str) -> None:
    """Run a script that prints "checked" when all of it holds."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.stdout == "checked\n", done.stderr[-3000:]


@pytest.mark.timeout(120)
def test_tensors_are_tensorflows() -> None:
    """What TensorFlow writes we read, and what we write TensorFlow reads, for every dtype."""
    run(TENSORS)


@pytest.mark.timeout(120)
def test_loads_runs_and_translates_errors() -> None:
    """The platform keeps its contract on real models: specs, filters, deadlines, errors."""
    names = ("half_plus_two_tf1", "picky", "sleepy", "sum_and_product", "no_signature")
    run(LOADING, *[str(model(name)) for name in names])
