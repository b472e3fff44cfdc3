"""What a model can be asked: its signatures, and how they are described to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from headrace.protos.tensorflow_pb2 import DataType, SignatureDef, TensorInfo
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap

Array: TypeAlias = npt.NDArray[Any]

_METHOD: Final = "tensorflow/serving/predict"
DTYPES: Final[Mapping[np.dtype[Any], DataType]] = {
    np.dtype(np.float16): DataType.DT_HALF,
    np.dtype(ml_dtypes.bfloat16): DataType.DT_BFLOAT16,
    np.dtype(np.float32): DataType.DT_FLOAT,
    np.dtype(np.float64): DataType.DT_DOUBLE,
    np.dtype(np.int8): DataType.DT_INT8,
    np.dtype(np.int16): DataType.DT_INT16,
    np.dtype(np.int32): DataType.DT_INT32,
    np.dtype(np.int64): DataType.DT_INT64,
    np.dtype(np.uint8): DataType.DT_UINT8,
    np.dtype(np.uint16): DataType.DT_UINT16,
    np.dtype(np.uint32): DataType.DT_UINT32,
    np.dtype(np.uint64): DataType.DT_UINT64,
    np.dtype(np.bool_): DataType.DT_BOOL,
    np.dtype(np.complex64): DataType.DT_COMPLEX64,
    np.dtype(np.complex128): DataType.DT_COMPLEX128,
    np.dtype(object): DataType.DT_STRING,
}
"""The dtypes that a tensor may have; object stands for strings, held as bytes."""


class TensorSpec(NamedTuple):
    """What a signature declares of one tensor.

    Shapes: `shape` is None for an unknown rank; an unknown dimension is None. Strings have dtype
    object and hold bytes.
    """

    alias: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is what is declared."""
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(want in (None, size) for want, size in zip(self.shape, shape, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """One callable entry of a model: named inputs and outputs.

    `defaults` are the arrays of inputs that a request may leave out. `is_batchable` says that rows
    of several requests may be run as one; whatever was given, it holds only when every input and
    every output declares an unknown first dimension.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, Array] = field(default_factory=dict[str, Array])
    is_batchable: bool = True

    def __post_init__(self) -> None:
        specs = [*self.inputs.values(), *self.outputs.values()]
        has_rows = bool(self.inputs) and all(s.shape and s.shape[0] is None for s in specs)
        object.__setattr__(self, "is_batchable", self.is_batchable and has_rows)


def encode_signatures(signatures: Mapping[str, Signature]) -> bytes:
    """Return signatures as an encoded `tensorflow.serving.SignatureDefMap`.

    Raises:
        ValueError: a tensor has a dtype that no request could carry.
    """
    definitions = SignatureDefMap()
    for name, signature in signatures.items():
        definition = SignatureDef(method_name=_METHOD)
        for tensors, specs in (
            (definition.inputs, signature.inputs),
            (definition.outputs, signature.outputs),
        ):
            for alias, spec in specs.items():
                tensors[alias].CopyFrom(_info(alias, spec))
        definitions.signature_def[name].CopyFrom(definition)
    return definitions.SerializeToString(deterministic=True)


def _info(alias: str, spec: TensorSpec) -> TensorInfo:
    number = DTYPES.get(spec.dtype)
    if number is None:
        raise ValueError(f"tensor {alias!r} has dtype {spec.dtype}, which no request can carry")
    info = TensorInfo(name=alias, dtype=number)
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
    for size in spec.shape or ():
        info.tensor_shape.dim.add(size=-1 if size is None else size)
    return info
