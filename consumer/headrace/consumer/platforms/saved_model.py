"""TensorFlow SavedModels, loaded and run through a Session as TensorFlow Serving does it.

The only module of the product that imports TensorFlow; importing it takes seconds, which the
zygote spends once. A Session serves TF1 and TF2 models alike, and a run in it takes a deadline.
Unloading is the end of the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from google.protobuf.message import Message

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms import warmup
from headrace.consumer.platforms.platform import (
    Array,
    LoadOptions,
    PlatformError,
    Signature,
    TensorSpec,
)
from headrace.consumer.platforms.session_run import Session, SessionRun, has_loop
from headrace.protos.tensorflow_pb2 import SignatureDef, TensorInfo
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap

# TensorFlow has no types. One name of type Any keeps that out of everything else.
_tf: Final = cast("Any", tf)

_SERVE: Final = "serve"
_INIT_SIGNATURE: Final = "__saved_model_init_op"
_WARM_UP: Final = Path("assets.extra", "tf_serving_warmup_requests")
_PREAMBLES: Final = ("Graph execution error:",)
_MAX_MESSAGE: Final = 1000


class _OpError(Protocol):
    """What of `tf.errors.OpError` is used here."""

    error_code: int
    message: str


class SavedModel:
    """One loaded SavedModel.

    **Concurrency:** one caller at a time.
    """

    def __init__(
        self, path: Path, session: Session, definitions: SignatureDefMap, *, may_loop: bool
    ) -> None:
        self._path = path
        self._session = session
        # A sparse or composite tensor has no name to feed; such a signature is described, and not
        # served (as in TensorFlow Serving's Predict).
        self._definitions = {
            name: definition
            for name, definition in definitions.signature_def.items()
            if _is_dense(definition)
        }
        self.signatures: Mapping[str, Signature] = {
            name: _signature(name, definition) for name, definition in self._definitions.items()
        }
        self.signature_def = definitions.SerializeToString(deterministic=True)
        self._may_loop = may_loop
        self._runs: dict[tuple[str, tuple[str, ...]], SessionRun] = {}
        self._feeds: dict[str, list[str]] = {n: list(s.inputs) for n, s in self.signatures.items()}

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Array]:
        """Run one signature; see `platform.Model.run`."""
        key = (signature, tuple(outputs))
        run = self._runs.get(key) or self._make_run(key)
        try:
            values = run([inputs[alias] for alias in self._feeds[signature]], timeout_seconds)
        except _tf.errors.OpError as error:
            raise _platform_error(error) from error
        except (ValueError, TypeError) as error:
            # The Session's own check of what it is fed: "Cannot feed value of shape …".
            raise PlatformError(Code.INVALID_ARGUMENT, _first_lines(str(error))) from error
        specs = self.signatures[signature].outputs
        # A scalar comes back as a number or as bytes, which is no array.
        return {
            alias: value if isinstance(value, np.ndarray) else np.array(value, specs[alias].dtype)
            for alias, value in zip(key[1], values, strict=True)
        }

    def recorded_calls(self) -> Iterator[Calls | None]:
        """Yield the recorded predictions of `assets.extra`; see `platform.Model`."""
        path = self._path / _WARM_UP
        if path.is_file():
            yield from warmup.calls(_records(path))

    def _make_run(self, key: tuple[str, tuple[str, ...]]) -> SessionRun:
        signature, outputs = key
        definition = self._definitions[signature]
        self._runs[key] = run = SessionRun(
            self._session,
            [definition.inputs[alias].name for alias in self._feeds[signature]],
            [definition.outputs[alias].name for alias in outputs],
            may_loop=self._may_loop,
        )
        return run


class SavedModelPlatform:
    """Loads SavedModels.

    **Concurrency:** one caller at a time.
    """

    def preload(self) -> None:
        """Touch what TensorFlow imports lazily, so that no worker pays for it."""
        _tf.get_logger().setLevel("ERROR")  # Every load warns that the Session API is version 1.
        _ = (_tf.compat.v1.Session, _tf.compat.v1.saved_model.load, _tf.errors.OpError)
        _ = _tf.make_ndarray(_tf.compat.v1.make_tensor_proto(np.zeros(1, np.float32)))

    def load(self, path: str, options: LoadOptions) -> SavedModel:
        """Load the SavedModel in a folder; see `platform.Platform.load`."""
        graph = _tf.Graph()
        session = _tf.compat.v1.Session(
            graph=graph,
            config=_tf.compat.v1.ConfigProto(
                intra_op_parallelism_threads=options.intra_op_threads,
                inter_op_parallelism_threads=options.inter_op_threads,
            ),
        )
        try:
            meta_graph = _tf.compat.v1.saved_model.load(session, [_SERVE], path)
            model = SavedModel(
                Path(path),
                session,
                _definitions(meta_graph.signature_def),
                may_loop=has_loop(meta_graph.graph_def),
            )
        except _tf.errors.OpError as error:
            raise _platform_error(error) from error
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            # What the loader raises about files and graphs that it cannot use.
            message = _first_lines(str(error))
            raise PlatformError(Code.FAILED_PRECONDITION, message) from error
        if not model.signatures:
            raise PlatformError(
                Code.FAILED_PRECONDITION,
                "the SavedModel has no signature to serve; export it with at least one "
                "(serving_default)",
            )
        return model


PLATFORM: Final = SavedModelPlatform()


def _definitions(signature_defs: Mapping[str, Message]) -> SignatureDefMap:
    """Return TensorFlow's signatures as our own, typed definition of the same messages."""
    definitions = SignatureDefMap()
    for name, definition in signature_defs.items():
        if name != _INIT_SIGNATURE:
            definitions.signature_def[name].ParseFromString(definition.SerializeToString())
    return definitions


def _is_dense(definition: SignatureDef) -> bool:
    """Whether every tensor of a signature is one that can be fed and fetched by name."""
    tensors = [*definition.inputs.values(), *definition.outputs.values()]
    return all(info.name for info in tensors)


def _signature(name: str, definition: SignatureDef) -> Signature:
    return Signature(
        name,
        {alias: _spec(alias, info) for alias, info in sorted(definition.inputs.items())},
        {alias: _spec(alias, info) for alias, info in sorted(definition.outputs.items())},
        {alias: _tf.make_ndarray(proto) for alias, proto in definition.defaults.items()},
    )


def _spec(alias: str, info: TensorInfo) -> TensorSpec:
    dtype = np.dtype(_tf.dtypes.as_dtype(info.dtype).base_dtype.as_numpy_dtype)
    if info.tensor_shape.unknown_rank:
        return TensorSpec(alias, dtype, None)
    sizes = [dimension.size for dimension in info.tensor_shape.dim]
    return TensorSpec(alias, dtype, tuple(None if size < 0 else size for size in sizes))


def _records(path: Path) -> Iterator[bytes]:
    try:
        yield from _tf.compat.v1.io.tf_record_iterator(os.fspath(path))
    except _tf.errors.OpError as error:
        message = f"{_WARM_UP} is not a TFRecord file: {_first_lines(error.message)}"
        raise PlatformError(Code.DATA_LOSS, message) from error


def _platform_error(error: _OpError) -> PlatformError:
    """Translate an error of TensorFlow, whose codes have gRPC's numbers."""
    try:
        code = Code(error.error_code)
    except ValueError:
        code = Code.INTERNAL
    return PlatformError(code, _first_lines(error.message) or type(error).__name__)


def _first_lines(message: str) -> str:
    """Return what an error says first, without the stack of the graph's makers."""
    for preamble in _PREAMBLES:
        message = message.removeprefix(preamble)
    lines: list[str] = []
    for line in message.strip().splitlines():
        if line.startswith(("Detected at node", "Original stack trace", "\t [[{{node")):
            break
        lines.append(line.strip())
    return " ".join(filter(None, lines[:3]))[:_MAX_MESSAGE] or message.strip()[:_MAX_MESSAGE]
