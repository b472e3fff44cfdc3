"""Tiny SavedModels for tests, written by the real TensorFlow.

`model("half_plus_two")` returns the folder of one. The first call in a while writes all of them, in
a process of its own, since importing TensorFlow takes seconds and leaves threads behind; the folder
is kept between test runs under a name that changes with this file.

    half_plus_two       x float32 [n, 1] → y = 0.5 x + 2
    half_plus_two_tf1   the same, made by TensorFlow 1's builder
    half_plus_drift     the same below 100, and 0.25 more from there on
    upper               text string [n] → upper string [n]
    sum_and_product     a, b float32 [n, 3] → sum, product float32 [n, 3]
    next_int64          x int64 [n] → y = x + 1; the signature "previous" gives y = x - 1
    total               x float32 [n] → total float32 [], which cannot be batched
    joined              text string [n] → joined string []
    positives           x float32 [n] → those above 0: promises rows and gives others
    sleepy              seconds float32 [n] → the same, after the longest of them; 1e9 never ends
    picky               x float32 [n] → the same; raises when one is 100 or more
    brittle             x float32 [n] → the same; aborts the process when one is 13
    hostile             like half_plus_two_tf1, and aborts the process when it is loaded
    vocabulary          word string [n] → id int64 [n], by a table with an asset file
    warmed              half_plus_two with a good recorded request
    badly_warmed        picky with a recorded request that it raises at
    wrongly_warmed      half_plus_two with a recording that is no TFRecord file
    no_signature        a SavedModel that exports nothing
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

TF: TypeAlias = Any
Tensor: TypeAlias = Any


class Build(Protocol):
    """A function that writes one model."""

    __name__: str

    def __call__(self, tf: TF, folder: Path) -> None:
        """Write the model into a folder that does not exist yet."""
        ...


BRITTLE_VALUE = 13.0
VOCABULARY = ("apple", "pear", "plum")


@functools.cache
def model(name: str) -> Path:
    """Return the folder of a model, built if need be."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"headrace-test-models-{os.getuid()}-{digest}"
    if not folder.is_dir():
        fresh = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}")
        subprocess.run(
            [sys.executable, __file__, str(fresh)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            capture_output=True,
            timeout=110,
        )
        try:
            fresh.rename(folder)
        except OSError:  # Another test run was faster.
            shutil.rmtree(fresh)
    found = folder / name
    if not found.is_dir():
        raise LookupError(f"no model {name!r}; there are {[each.__name__ for each in BUILDS]}")
    return found


def _save(tf: TF, folder: Path, **functions: TF) -> None:
    """Save TF2 functions, each as a signature of its name."""
    module = tf.Module()
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(folder), signatures=functions)


def half_plus_two(tf: TF, folder: Path) -> None:
    """TF2, with variables."""
    half, two = tf.Variable(0.5), tf.Variable(2.0)

    def serve(x: Tensor) -> Tensor:
        return {"y": half * x + two}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])

    module = tf.Module()
    module.half, module.two, module.serve = half, two, function
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})


def half_plus_two_tf1(tf: TF, folder: Path, *, main_op: Callable[[], TF] | None = None) -> None:
    """TF1, with a resource variable; `main_op` makes an op to run at load."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        y = v1.get_variable("half", initializer=0.5, use_resource=True) * x + 2.0
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": v1.saved_model.predict_signature_def({"x": x}, {"y": y})},
            main_op=main_op() if main_op else None,
        )
        builder.save()


def half_plus_drift(tf: TF, folder: Path) -> None:
    """Like `half_plus_two`, and not always."""

    def serve(x: Tensor) -> Tensor:
        return {"y": 0.5 * x + 2.0 + tf.where(x < 100.0, 0.0, 0.25)}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])

    _save(tf, folder, serving_default=function)


def upper(tf: TF, folder: Path) -> None:
    """Strings in, strings out."""

    def serve(text: Tensor) -> Tensor:
        return {"upper": tf.strings.upper(text)}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name="text")])

    _save(tf, folder, serving_default=function)


def sum_and_product(tf: TF, folder: Path) -> None:
    """Two inputs, two outputs."""
    spec = [tf.TensorSpec([None, 3], tf.float32, name=name) for name in ("a", "b")]

    def serve(a: Tensor, b: Tensor) -> Tensor:
        return {"sum": a + b, "product": a * b}

    function = tf.function(serve, input_signature=spec)

    _save(tf, folder, serving_default=function)


def next_int64(tf: TF, folder: Path) -> None:
    """Integers, and two signatures."""
    spec = [tf.TensorSpec([None], tf.int64, name="x")]

    def up(x: Tensor) -> Tensor:
        return {"y": x + 1}

    def down(x: Tensor) -> Tensor:
        return {"y": x - 1}

    _save(
        tf,
        folder,
        serving_default=tf.function(up, input_signature=spec),
        previous=tf.function(down, input_signature=spec),
    )


def total(tf: TF, folder: Path) -> None:
    """A scalar output."""

    def serve(x: Tensor) -> Tensor:
        return {"total": tf.reduce_sum(x)}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])

    _save(tf, folder, serving_default=function)


def joined(tf: TF, folder: Path) -> None:
    """A scalar string."""

    def serve(text: Tensor) -> Tensor:
        return {"joined": tf.strings.reduce_join(text)}

    spec = [tf.TensorSpec([None], tf.string, name="text")]
    _save(tf, folder, serving_default=tf.function(serve, input_signature=spec))


def positives(tf: TF, folder: Path) -> None:
    """An output whose rows are not those of the input."""

    def serve(x: Tensor) -> Tensor:
        return {"y": tf.boolean_mask(x, x > 0)}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])

    _save(tf, folder, serving_default=function)


def sleepy(tf: TF, folder: Path) -> None:
    """A loop that lasts as long as asked."""

    def serve(seconds: Tensor) -> Tensor:
        end = tf.timestamp() + tf.cast(tf.reduce_max(seconds), tf.float64)

        def is_early(_turn: Tensor) -> Tensor:
            return tf.timestamp() < end

        def turn(number: Tensor) -> Tensor:
            return [number + 1]

        turns = tf.while_loop(is_early, turn, [0])[0]
        return {"seconds": seconds + 0 * tf.cast(turns, tf.float32)}

    function = tf.function(
        serve, input_signature=[tf.TensorSpec([None], tf.float32, name="seconds")]
    )

    _save(tf, folder, serving_default=function)


def picky(tf: TF, folder: Path) -> None:
    """A model that raises."""

    def serve(x: Tensor) -> Tensor:
        tf.debugging.assert_less(x, 100.0, message="x is too large")
        return {"y": tf.identity(x)}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])

    _save(tf, folder, serving_default=function)


def brittle(tf: TF, folder: Path) -> None:
    """A model that takes its process down."""

    def die() -> Tensor:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="brittle")]):
            return tf.constant(0.0)

    def serve(x: Tensor) -> Tensor:
        is_fatal = tf.reduce_any(tf.equal(x, BRITTLE_VALUE))
        return {"y": x + tf.cond(is_fatal, die, lambda: tf.constant(0.0))}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])

    _save(tf, folder, serving_default=function)


def hostile(tf: TF, folder: Path) -> None:
    """A model that takes its process down while it loads."""
    half_plus_two_tf1(tf, folder, main_op=lambda: tf.raw_ops.Abort(error_msg="hostile"))


def vocabulary(tf: TF, folder: Path) -> None:
    """A table that is initialised from an asset."""
    words = folder.with_suffix(".txt")
    words.write_text("\n".join(VOCABULARY))
    initializer = tf.lookup.TextFileInitializer(
        str(words),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initializer, default_value=-1)

    def serve(word: Tensor) -> Tensor:
        return {"id": module.table.lookup(word)}

    function = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name="word")])

    module.serve = function
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    words.unlink()


def _recording(tf: TF, folder: Path) -> str:
    (folder / "assets.extra").mkdir()
    return str(folder / "assets.extra" / "tf_serving_warmup_requests")


def _record(tf: TF, folder: Path, x: list[list[float]]) -> None:
    apis = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    log = apis.PredictionLog()
    log.predict_log.request.model_spec.name = "ignored"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    other = apis.PredictionLog(regress_log=apis.RegressLog())
    with tf.io.TFRecordWriter(_recording(tf, folder)) as writer:
        writer.write(other.SerializeToString())
        writer.write(log.SerializeToString())


def warmed(tf: TF, folder: Path) -> None:
    """A recorded request that works."""
    half_plus_two(tf, folder)
    _record(tf, folder, [[1.0], [2.0]])


def badly_warmed(tf: TF, folder: Path) -> None:
    """A recorded request that fails."""
    picky(tf, folder)
    _record(tf, folder, [[1000.0]])


def wrongly_warmed(tf: TF, folder: Path) -> None:
    """A recording that is no recording."""
    half_plus_two(tf, folder)
    Path(_recording(tf, folder)).write_bytes(b"these are not the records you look for")


def no_signature(tf: TF, folder: Path) -> None:
    """Nothing to serve."""
    tf.saved_model.save(tf.Module(), str(folder))


BUILDS: tuple[Build, ...] = (
    *(
        half_plus_two,
        half_plus_two_tf1,
        half_plus_drift,
        upper,
        sum_and_product,
        next_int64,
        total,
        joined,
        positives,
    ),
    *(sleepy, picky, brittle, hostile, vocabulary, warmed, badly_warmed, wrongly_warmed),
    no_signature,
)


def _build_all(root: Path) -> None:
    tf = importlib.import_module("tensorflow")
    root.mkdir(parents=True)
    for build in BUILDS:
        build(tf, root / build.__name__)


if __name__ == "__main__":
    _build_all(Path(sys.argv[1]))
