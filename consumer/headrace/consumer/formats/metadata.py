"""A model in Open Inference's words: what goes in, what comes out.

For the doors, so it knows messages and no arrays.

Source: Open Inference Protocol v2, "Model Metadata"; Triton's names of platforms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from headrace.protos.tensorflow_pb2 import DataType, TensorInfo
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap
from headrace.schemas.records import DEFAULT_SIGNATURE

_DATATYPES: Final[Mapping[int, str]] = {
    DataType.DT_BOOL: "BOOL",
    DataType.DT_UINT8: "UINT8",
    DataType.DT_UINT16: "UINT16",
    DataType.DT_UINT32: "UINT32",
    DataType.DT_UINT64: "UINT64",
    DataType.DT_INT8: "INT8",
    DataType.DT_INT16: "INT16",
    DataType.DT_INT32: "INT32",
    DataType.DT_INT64: "INT64",
    DataType.DT_HALF: "FP16",
    DataType.DT_BFLOAT16: "BF16",
    DataType.DT_FLOAT: "FP32",
    DataType.DT_DOUBLE: "FP64",
    DataType.DT_STRING: "BYTES",
}
_KNOWN: Final = frozenset(DataType.values())
_PLATFORMS: Final[Mapping[str, str]] = {
    "tensorflow": "tensorflow_savedmodel",
    "onnx": "onnxruntime_onnx",
}
# What is told about a tensor of unknown rank: the protocol cannot say that.
_ANY_SHAPE: Final = (-1,)
_INTERNAL: Final = "__"


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output.

    Shapes: `shape` has -1 for an unknown dimension, and is `(-1,)` for an unknown rank. `datatype`
    is TensorFlow's name (`COMPLEX64`) where the protocol has none.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model takes and gives by the signature that is described; tensors by name."""

    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@lru_cache(maxsize=1024)
def describe(signature_def: bytes, platform: str) -> ModelMetadata:
    """Return what the signature `serving_default` says, or without one the first by name.

    Args:
        signature_def: a `tensorflow.serving.SignatureDefMap`, encoded.
        platform: what loads the model, as the log calls it.
    """
    signatures = SignatureDefMap.FromString(signature_def).signature_def
    known = _PLATFORMS.get(platform, platform)
    name = _described(signatures)
    if name is None:
        return ModelMetadata(known, (), ())
    signature = signatures[name]
    return ModelMetadata(known, _tensors(signature.inputs), _tensors(signature.outputs))


def _described(names: Iterable[str]) -> str | None:
    """Return the signature to describe; those that begin with `__` are TensorFlow's own."""
    served = sorted(name for name in names if not name.startswith(_INTERNAL))
    if DEFAULT_SIGNATURE in served:
        return DEFAULT_SIGNATURE
    return served[0] if served else None


def _tensors(infos: Mapping[str, TensorInfo]) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(n, _datatype(infos[n]), _shape(infos[n])) for n in sorted(infos))


def _datatype(info: TensorInfo) -> str:
    found = _DATATYPES.get(info.dtype)
    if found is not None:
        return found
    return DataType.Name(info.dtype).removeprefix("DT_") if info.dtype in _KNOWN else "INVALID"


def _shape(info: TensorInfo) -> tuple[int, ...]:
    if info.tensor_shape.unknown_rank:
        return _ANY_SHAPE
    return tuple(dim.size for dim in info.tensor_shape.dim)
