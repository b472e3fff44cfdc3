"""ONNX models, run by onnxruntime on the processor.

The only module of the product that imports onnxruntime. A model is one graph and has one signature;
outputs that are no tensors (sequences, maps) are left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import LoadOptions, Model, Platform, PlatformError
from headrace.consumer.platforms.signature import Array, Signature, TensorSpec
from headrace.consumer.platforms.watchdog import Watchdog
from headrace.schemas.records import DEFAULT_SIGNATURE

# onnxruntime has no types. One name of type Any keeps that out of everything else.
_ort: Final = cast("Any", onnxruntime)
_errors: Final = _ort.capi.onnxruntime_pybind11_state

_FATAL: Final = 4
_MAX_MESSAGE: Final = 1000
_STRING: Final = np.dtype(object)
# bfloat16 and what is smaller than a byte: onnxruntime takes no such array from Python.
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "tensor(float16)": np.dtype(np.float16),
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(string)": _STRING,
    "tensor(bool)": np.dtype(np.bool_),
    **{
        f"tensor({name})": np.dtype(name)
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}
_FAILURES: Final = (
    _errors.Fail,
    _errors.EngineError,
    _errors.InvalidArgument,
    _errors.InvalidGraph,
    _errors.InvalidProtobuf,
    _errors.NoModel,
    _errors.NoSuchFile,
    _errors.NotImplemented,
    _errors.RuntimeException,
    # Of the binding itself, about arrays and settings.
    RuntimeError,
    ValueError,
    TypeError,
)


class _Node(Protocol):
    """What of `onnxruntime.NodeArg` is used here. A dimension is a number, a symbol or None."""

    name: str
    type: str
    shape: Sequence[int | str | None]


class _Session(Protocol):
    """What of `onnxruntime.InferenceSession` is used here."""

    def get_inputs(self) -> Sequence[_Node]: ...

    def get_outputs(self) -> Sequence[_Node]: ...

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, Array], options: object
    ) -> list[object]: ...


class OnnxModel(Model):
    """One loaded ONNX model.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, session: _Session) -> None:
        self._session = session
        signature = _signature(session.get_inputs(), session.get_outputs())
        self.signatures: Mapping[str, Signature] = {signature.name: signature}
        self._text_inputs = [a for a, spec in signature.inputs.items() if spec.dtype == _STRING]
        self._watchdog = Watchdog()

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Array]:
        """Run the graph; see `platform.Model.run`."""
        feeds = dict(inputs)
        for alias in self._text_inputs:
            feeds[alias] = _text(alias, inputs[alias])
        options = _ort.RunOptions()
        options.log_severity_level = _FATAL  # What fails is told by the exception.
        try:
            with self._watchdog.watching(timeout_seconds, lambda: _terminate(options)):
                values = self._session.run(list(outputs), feeds, options)
        except _FAILURES as error:
            if options.terminate:
                raise PlatformError(
                    Code.DEADLINE_EXCEEDED, "the deadline passed while the model ran"
                ) from error
            raise PlatformError(_code(error), _words(error)) from error
        specs = self.signatures[signature].outputs
        return {
            alias: _array(specs[alias], value) for alias, value in zip(outputs, values, strict=True)
        }


class OnnxPlatform(Platform):
    """Loads ONNX models.

    **Concurrency:** one caller at a time.
    """

    def load(self, path: str, options: LoadOptions) -> OnnxModel:
        """Load the only ONNX file of a folder; see `platform.Platform.load`."""
        settings = _ort.SessionOptions()
        settings.log_severity_level = _FATAL
        settings.intra_op_num_threads = options.intra_op_threads
        settings.inter_op_num_threads = options.inter_op_threads
        # Threads that wait for work in a loop would take the cores from the other versions.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            session = _ort.InferenceSession(
                str(_file(Path(path))), settings, providers=["CPUExecutionProvider"]
            )
        except _FAILURES as error:
            raise PlatformError(Code.FAILED_PRECONDITION, _words(error)) from error
        return OnnxModel(cast("_Session", session))


PLATFORM: Final = OnnxPlatform()


def _file(folder: Path) -> Path:
    files = sorted(folder.glob("*.onnx"))
    named = folder / "model.onnx"
    if named in files:
        return named
    if len(files) != 1:
        raise PlatformError(
            Code.FAILED_PRECONDITION,
            f"the artefact has {len(files)} files *.onnx; expected one, or one named model.onnx",
        )
    return files[0]


def _signature(inputs: Sequence[_Node], outputs: Sequence[_Node]) -> Signature:
    served = [node for node in outputs if node.type.startswith("tensor(")]
    if not served:
        raise PlatformError(
            Code.FAILED_PRECONDITION,
            "no output of the model is a tensor; export it with tensors for outputs (a classifier "
            "of scikit-learn: with zipmap=False)",
        )
    tensors = [*inputs, *served]
    # Rows of other requests may be put below a request's own only where all speak of one batch.
    rows = {node.shape[0] for node in tensors if node.shape and isinstance(node.shape[0], str)}
    return Signature(
        DEFAULT_SIGNATURE,
        {node.name: _spec(node, _shape(node)) for node in inputs},
        # An output without a shape is one of unknown rank; onnxruntime calls both a scalar.
        {node.name: _spec(node, _shape(node) or None) for node in served},
        is_batchable=len(rows) <= 1,
    )


def _shape(node: _Node) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)


def _spec(node: _Node, shape: tuple[int | None, ...] | None) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise PlatformError(
            Code.FAILED_PRECONDITION,
            f"{node.name!r} is a {node.type}, which cannot be fed or fetched; the graph may "
            f"cast it to one of {', '.join(_DTYPES)}",
        )
    return TensorSpec(node.name, dtype, shape)


def _text(alias: str, array: Array) -> Array:
    """Return bytes as the text that onnxruntime wants."""
    text = np.empty(array.shape, object)
    try:
        for index, each in np.ndenumerate(array):
            text[index] = each.decode()
    except UnicodeDecodeError as error:
        raise PlatformError(
            Code.INVALID_ARGUMENT, f"input {alias!r} has a string that is not UTF-8: {error}"
        ) from error
    return text


def _array(spec: TensorSpec, value: object) -> Array:
    """Return an output as an array; strings as bytes."""
    array = np.asarray(value)
    if spec.dtype != _STRING:
        return array
    strings = np.empty(array.shape, object)
    for index, each in np.ndenumerate(array):
        strings[index] = str(each).encode()
    return strings


def _terminate(options: Any) -> None:  # noqa: ANN401 - onnxruntime has no types
    options.terminate = True


def _code(error: Exception) -> Code:
    if isinstance(error, _errors.InvalidArgument | ValueError | TypeError):
        return Code.INVALID_ARGUMENT
    if isinstance(error, _errors.NotImplemented):
        return Code.UNIMPLEMENTED
    return Code.INTERNAL


def _words(error: Exception) -> str:
    """Return what an error says, without onnxruntime's own numbers of it."""
    text = " ".join(str(error).split())
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return text[:_MAX_MESSAGE]
