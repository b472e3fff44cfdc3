"""Tiny SavedModels for tests, written by the real TensorFlow.

`model("half_plus_two")` returns the folder of one. The first call in a while writes all of them, in
a process of its own, since importing TensorFlow takes seconds and leaves threads behind; the folder
is kept between test runs under a name that changes with this file.

    half_plus_two       x float32 [n, 1] → y = 0.5 x + 2
    half_plus_two_tf1   the same, made by TensorFlow 1's builder
    half_plus_two_zoo   TF1: takes serialised examples with x and x2, as TensorFlow Serving's own
                        test model: serving_default, regress_x_to_y (0.5 x + 2), regress_x_to_y2
                        (0.5 x + 3), regress_x2_to_y3 (0.5 x2 + 3, fed x2), classify_x_to_y
    judge               TF2: takes serialised examples with x and, optionally, w (1) and name:
                        serving_default classifies (classes, scores [n, 2]), regress gives w x [n],
                        scores and labels give one of both, and the others answer out of form
    judge_tf1           the same, made by TensorFlow 1's builder
    sampler_tf1, _tf2   the same signatures in both styles: serving_default is half_plus_two; pair
                        (a, b → sum, product), defaulted (x, plus = 10 → y), total (x → a scalar),
                        mixed (x → y and a scalar), text (x → y upper, y_bytes as it came), those
                        that fail (read a path, close a queue again), and
                        one named for each dtype (x of any shape → y, the same)
    with_default        x float32 [n], plus float32 [] (10) → y = x + plus
    half_plus_drift     the same below 100, and 0.25 more from there on
    upper               text string [n] → upper string [n]
    sum_and_product     a, b float32 [n, 3] → sum, product float32 [n, 3]
    next_int64          x int64 [n] → y = x + 1; the signature "previous" gives y = x - 1
    kinds               TF2: for each dtype of KINDS a signature of its name, x [n, m] → same, its
                        column [n]; pair: a, b float32 [n, m] → sum, product [n, m]; narrow: x
                        float32 [n, m] → same, half float16 [n, m]
    kinds_tf1           the same, made by TensorFlow 1's builder
    total               x float32 [n] → total float32 [], which cannot be batched
    joined              text string [n] → joined string []
    positives           x float32 [n] → those above 0: promises rows and gives others
    ragged              x float32 [n, any] → y = 2 x, rows int64 [n]: how many were run together;
                        the signature "text" turns text string [n, any] into upper
    sleepy              seconds float32 [n] → the same, after the longest of them; 1e9 never ends
    gated               path, gate string [n] → path: writes the file <path>.begun, waits until one
                        that fits the gate is there, writes the file <path>
    picky               x float32 [n] → the same; raises when one is 100 or more
    brittle             x float32 [n] → the same; aborts the process when one is 13
    hostile             like half_plus_two_tf1, and aborts the process when it is loaded
    vocabulary          word string [n] → id int64 [n], by a table with an asset file
    warmed              half_plus_two with a good recorded request
    badly_warmed        picky with a recorded request that it raises at
    warmed_judge        judge with a recorded request of every kind that is run
    badly_warmed_judge  judge with a recorded classification without examples
    stalled             sleepy with a recorded request that never ends, so that it loads for ever
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
from collections.abc import Callable, Mapping
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
KINDS = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "string"),
)


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


def _save_tf1(
    tf: TF,
    folder: Path,
    functions: Mapping[str, tuple[Callable[..., Tensor], list[TF]]],
    *,
    defaults: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Save functions of tensors of these specs in one TF1 graph, each as a signature."""
    v1 = tf.compat.v1
    info = v1.saved_model.build_tensor_info
    signatures: dict[str, TF] = {}
    with tf.Graph().as_default(), v1.Session() as session:
        for name, (work, specs) in functions.items():
            inputs = {
                spec.name: v1.placeholder(spec.dtype, spec.shape, name=f"{name}_{spec.name}")
                for spec in specs
            }
            signatures[name] = v1.saved_model.build_signature_def(
                {alias: info(tensor) for alias, tensor in inputs.items()},
                {alias: info(tensor) for alias, tensor in work(**inputs).items()},
                "tensorflow/serving/predict",
            )
            for alias, value in (defaults or {}).get(name, {}).items():
                signatures[name].defaults[alias].CopyFrom(tf.make_tensor_proto(value))
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


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


def half_plus_two_zoo(tf: TF, folder: Path) -> None:
    """TF1, with signatures to classify, to regress and to predict."""
    v1 = tf.compat.v1
    make, info = v1.saved_model.build_signature_def, v1.saved_model.build_tensor_info
    with tf.Graph().as_default(), v1.Session() as session:
        serialised = v1.placeholder(tf.string, name="tf_example")
        features = v1.io.parse_example(
            serialised,
            {
                "x": v1.io.FixedLenFeature([1], tf.float32),
                "x2": v1.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
            },
        )
        x = tf.identity(features["x"], name="x")
        a = v1.get_variable("a", initializer=0.5)
        y, y2, y3 = a * x + 2.0, a * x + 3.0, a * features["x2"] + 3.0
        session.run(v1.global_variables_initializer())
        examples = {"inputs": info(serialised)}
        regress, classify = "tensorflow/serving/regress", "tensorflow/serving/classify"
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": v1.saved_model.predict_signature_def({"x": x}, {"y": y}),
                "regress_x_to_y": make(examples, {"outputs": info(y)}, regress),
                "regress_x_to_y2": make(examples, {"outputs": info(y2)}, regress),
                "regress_x2_to_y3": make(
                    {"inputs": info(features["x2"])}, {"outputs": info(y3)}, regress
                ),
                "classify_x_to_y": make(examples, {"scores": info(y)}, classify),
            },
        )
        builder.save()


def _judgements(tf: TF) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what the signatures of `judge` compute of serialised examples."""

    def x_of(inputs: Tensor) -> Tensor:
        found = tf.io.parse_example(
            inputs,
            {
                "x": tf.io.FixedLenFeature([], tf.float32),
                "w": tf.io.FixedLenFeature([], tf.float32, default_value=1.0),
            },
        )
        return found["x"] * found["w"]

    def named(inputs: Tensor) -> Tensor:
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        name = tf.io.parse_example(inputs, {"name": feature})["name"]
        return tf.stack([name + "-low", name + "-high"], axis=1)

    def scored(inputs: Tensor) -> Tensor:
        x = x_of(inputs)
        return tf.stack([1.0 - x, x], axis=1)

    def classify(inputs: Tensor) -> Tensor:
        return {"classes": named(inputs), "scores": scored(inputs)}

    return {
        "serving_default": classify,
        "regress": lambda inputs: {"outputs": x_of(inputs)},
        "scores": lambda inputs: {"scores": scored(inputs)},
        "labels": lambda inputs: {"classes": named(inputs)},
        "flat_scores": lambda inputs: {"scores": x_of(inputs)},
        "double_scores": lambda inputs: {"scores": tf.cast(scored(inputs), tf.float64)},
        "number_classes": lambda inputs: {"classes": scored(inputs)},
        "fewer_scores": lambda inputs: {"scores": scored(inputs)[1:]},
        "uneven": lambda inputs: {"classes": named(inputs), "scores": scored(inputs)[:, :1]},
        "wide_regress": lambda inputs: {"outputs": scored(inputs)},
        "fewer_regress": lambda inputs: {"outputs": x_of(inputs)[1:]},
        "double_regress": lambda inputs: {"outputs": tf.cast(x_of(inputs), tf.float64)},
        "wordy": lambda inputs: {"label": named(inputs)},
        "threefold": lambda inputs: {
            "classes": named(inputs),
            "scores": scored(inputs),
            "more": x_of(inputs),
        },
    }


def judge(tf: TF, folder: Path) -> None:
    """TF2, with signatures that take examples."""
    spec = [tf.TensorSpec([None], tf.string, name="inputs")]
    made = _judgements(tf)
    _save(tf, folder, **{n: tf.function(work, input_signature=spec) for n, work in made.items()})


def judge_tf1(tf: TF, folder: Path) -> None:
    """TF1, with the same signatures."""
    spec = [tf.TensorSpec([None], tf.string, name="inputs")]
    _save_tf1(tf, folder, {name: (work, spec) for name, work in _judgements(tf).items()})


Sample: TypeAlias = "tuple[Callable[..., Tensor], list[TF]]"


def _samples(tf: TF) -> dict[str, Sample]:
    """Return what the signatures of the samplers compute, and of what."""

    def one(work: Callable[[Tensor], Tensor], spec: TF) -> Sample:
        return work, [spec]

    def of_x(work: Callable[[Tensor], Tensor], dtype: TF, shape: TF = None) -> Sample:
        return work, [tf.TensorSpec(shape, dtype, name="x")]

    def pair(a: Tensor, b: Tensor) -> Tensor:
        return {"sum": a + b, "product": a * b}

    def defaulted(x: Tensor, plus: Tensor = tf.constant(10.0)) -> Tensor:  # noqa: B008 - the library's way
        return {"y": x + plus}

    def closed(x: Tensor) -> Tensor:
        # It outlives the run, so every run but the first, the loader's own, finds it closed.
        queue = tf.raw_ops.FIFOQueueV2(component_types=[tf.float32], shapes=[[]])
        with tf.control_dependencies([tf.raw_ops.QueueCloseV2(handle=queue)]):
            return {"y": tf.identity(x)}

    def floats(*names: str) -> list[TF]:
        return [tf.TensorSpec([None], tf.float32, name=name) for name in names]

    plus = tf.TensorSpec([], tf.float32, name="plus")
    dtypes = (
        *("bool", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
    return {
        "serving_default": of_x(lambda x: {"y": 0.5 * x + 2.0}, tf.float32, [None, 1]),
        "pair": (pair, floats("a", "b")),
        "defaulted": (defaulted, [*floats("x"), plus]),
        "total": of_x(lambda x: {"total": tf.reduce_sum(x)}, tf.float32, [None]),
        "mixed": of_x(lambda x: {"y": x + 1.0, "total": tf.reduce_sum(x)}, tf.float32, [None]),
        "read": one(
            lambda path: {"y": tf.io.read_file(path)}, tf.TensorSpec([], tf.string, name="path")
        ),
        "closed": of_x(closed, tf.float32, [None]),
        "text": of_x(lambda x: {"y": tf.strings.upper(x), "y_bytes": tf.identity(x)}, tf.string),
        **{name: of_x(lambda x: {"y": tf.identity(x)}, getattr(tf, name)) for name in dtypes},
    }


def sampler_tf1(tf: TF, folder: Path) -> None:
    """TF1, with a signature for everything."""
    _save_tf1(tf, folder, _samples(tf), defaults={"defaulted": {"plus": 10.0}})


def sampler_tf2(tf: TF, folder: Path) -> None:
    """TF2, with the same signatures."""
    made = {
        name: tf.function(work, input_signature=spec) for name, (work, spec) in _samples(tf).items()
    }
    _save(tf, folder, **made)


def with_default(tf: TF, folder: Path) -> None:
    """TF2, with an input that a request may leave out."""

    def serve(x: Tensor, plus: Tensor = tf.constant(10.0)) -> Tensor:  # noqa: B008 - the library's way
        return {"y": x + plus}

    spec = [tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="plus")]
    _save(tf, folder, serving_default=tf.function(serve, input_signature=spec))


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


def _kinds(tf: TF) -> dict[str, tuple[dict[str, TF], Callable[..., dict[str, Tensor]]]]:
    """Return the inputs and the work of every signature of `kinds`."""

    def same(x: Tensor) -> dict[str, Tensor]:
        return {"same": tf.identity(x), "column": x[:, 0]}

    def pair(a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"sum": a + b, "product": a * b}

    def narrow(x: Tensor) -> dict[str, Tensor]:
        return {"same": tf.identity(x), "half": tf.cast(x, tf.float16)}

    return {
        **{kind: ({"x": tf.as_dtype(kind)}, same) for kind in KINDS},
        "pair": ({"a": tf.float32, "b": tf.float32}, pair),
        "narrow": ({"x": tf.float32}, narrow),
    }


def kinds(tf: TF, folder: Path) -> None:
    """TF2, with every dtype."""
    made = {
        name: tf.function(
            work,
            input_signature=[tf.TensorSpec([None, None], of, name=x) for x, of in inputs.items()],
        )
        for name, (inputs, work) in _kinds(tf).items()
    }
    _save(tf, folder, **made)


def kinds_tf1(tf: TF, folder: Path) -> None:
    """TF1, with every dtype."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signatures: dict[str, TF] = {}
        for name, (inputs, work) in _kinds(tf).items():
            fed = {x: v1.placeholder(of, [None, None]) for x, of in inputs.items()}
            signatures[name] = v1.saved_model.predict_signature_def(fed, work(**fed))
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


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


def ragged(tf: TF, folder: Path) -> None:
    """Sequences of any length, and the size of the batch for each of its rows."""

    def serve(x: Tensor) -> Tensor:
        rows = tf.shape(x, out_type=tf.int64)[:1]
        return {"y": 2.0 * x, "rows": tf.repeat(rows, rows)}

    def text(text: Tensor) -> Tensor:
        return {"upper": tf.strings.upper(text)}

    numbers = [tf.TensorSpec([None, None], tf.float32, name="x")]
    strings = [tf.TensorSpec([None, None], tf.string, name="text")]
    _save(
        tf,
        folder,
        serving_default=tf.function(serve, input_signature=numbers),
        text=tf.function(text, input_signature=strings),
    )


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


def gated(tf: TF, folder: Path) -> None:
    """A model that tells by files what it runs, and runs no further than it is let."""

    def write_one(path: Tensor) -> Tensor:
        with tf.control_dependencies([tf.io.write_file(path, b"")]):
            return tf.identity(path)

    def write(paths: Tensor) -> Tensor:
        return tf.map_fn(write_one, paths)

    def serve(path: Tensor, gate: Tensor) -> Tensor:
        def is_shut(_turn: Tensor) -> Tensor:
            has_gate = tf.reduce_any(tf.strings.length(gate) > 0)
            return has_gate & tf.equal(tf.size(tf.io.matching_files(gate)), 0)

        def turn(number: Tensor) -> Tensor:
            return [number + 1]

        with tf.control_dependencies([write(path + ".begun")]):
            turns = tf.while_loop(is_shut, turn, [tf.constant(0)])[0]
        with tf.control_dependencies([turns]):
            return {"path": write(path)}

    spec = [tf.TensorSpec([None], tf.string, name=name) for name in ("path", "gate")]
    _save(tf, folder, serving_default=tf.function(serve, input_signature=spec))


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


def _record(tf: TF, folder: Path, *logs: TF) -> None:
    with tf.io.TFRecordWriter(_recording(tf, folder)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def _log() -> TF:
    return importlib.import_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog()


def _predict_log(tf: TF, x: list[list[float]]) -> TF:
    log = _log()
    log.predict_log.request.model_spec.name = "ignored"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    return log


def _session_log() -> TF:
    log = _log()
    log.session_run_log.SetInParent()
    return log


def warmed(tf: TF, folder: Path) -> None:
    """A recorded request that works."""
    half_plus_two(tf, folder)
    _record(tf, folder, _session_log(), _predict_log(tf, [[1.0], [2.0]]))


def badly_warmed(tf: TF, folder: Path) -> None:
    """A recorded request that fails."""
    picky(tf, folder)
    _record(tf, folder, _session_log(), _predict_log(tf, [[1000.0]]))


def _example(tf: TF, x: float) -> TF:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature}))


def warmed_judge(tf: TF, folder: Path) -> None:
    """Recorded requests of every kind that is run."""
    judge(tf, folder)
    classify, regress, both = _log(), _log(), _log()
    classify.classify_log.request.input.example_list.examples.append(_example(tf, 0.25))
    regress.regress_log.request.model_spec.signature_name = "regress"
    regress.regress_log.request.input.example_list.examples.append(_example(tf, 0.25))
    request = both.multi_inference_log.request
    request.input.example_list.examples.append(_example(tf, 0.25))
    request.tasks.add(method_name="tensorflow/serving/classify")
    request.tasks.add(
        method_name="tensorflow/serving/regress"
    ).model_spec.signature_name = "regress"
    _record(tf, folder, classify, regress, both)


def badly_warmed_judge(tf: TF, folder: Path) -> None:
    """A recorded classification of nothing."""
    judge(tf, folder)
    log = _log()
    log.classify_log.SetInParent()
    _record(tf, folder, log)


def stalled(tf: TF, folder: Path) -> None:
    """A recorded request that is never done."""
    sleepy(tf, folder)
    log = _log()
    log.predict_log.request.inputs["seconds"].CopyFrom(tf.make_tensor_proto([1e9], tf.float32))
    _record(tf, folder, log)


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
        half_plus_two_zoo,
        judge,
        judge_tf1,
        sampler_tf1,
        sampler_tf2,
        with_default,
        half_plus_drift,
        upper,
        sum_and_product,
        next_int64,
        kinds,
        kinds_tf1,
        total,
        joined,
        positives,
        ragged,
    ),
    *(sleepy, gated, picky, brittle, hostile, vocabulary, warmed, badly_warmed, wrongly_warmed),
    stalled,
    *(warmed_judge, badly_warmed_judge),
    no_signature,
)


def _build_all(root: Path) -> None:
    tf = importlib.import_module("tensorflow")
    root.mkdir(parents=True)
    for build in BUILDS:
        build(tf, root / build.__name__)


if __name__ == "__main__":
    _build_all(Path(sys.argv[1]))
