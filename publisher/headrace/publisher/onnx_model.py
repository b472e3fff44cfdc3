"""Looks an ONNX model over before it is published, without onnx or onnxruntime.

Finds what would make every node of the fleet fail: several files to choose from, a broken one, no
output, weights that are not there. What only loading can tell is left to the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from google.protobuf.message import DecodeError

from headrace.protos.onnx_pb2 import GraphProto, ModelProto, TensorShapeProto, ValueInfoProto
from headrace.publisher.errors import InvalidModel
from headrace.publisher.interface import Interface
from headrace.schemas.records import DEFAULT_SIGNATURE, SignatureSpec, TensorSpec

NAME: Final = "model.onnx"
# By the numbers of TensorProto.DataType; there are others, and no node serves them.
_DTYPE_NAMES: Final = dict(
    enumerate(
        (
            *("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
            *("float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
        ),
        1,
    )
)


def files(folder: Path) -> list[Path]:
    """Return the ONNX files of a folder."""
    return sorted(folder.glob("*.onnx"))


def interface(folder: Path) -> Interface:
    """Return what the model in a folder can be asked: a graph is one signature.

    Raises:
        InvalidModel: it cannot be served; the message names the file and what to do.

    Source: `onnx.proto` and `docs/ExternalData.md` of ONNX 1.23.
    """
    file = _file(folder)
    graph = _parse(file)
    if not graph.output:
        raise InvalidModel(f"{file} has a graph without outputs: export the model again")
    for location in sorted(set(_external_files(graph))):
        path = PurePosixPath(location)
        if path.is_absolute() or ".." in path.parts:
            raise InvalidModel(
                f"{file} keeps weights outside of its folder, in {location}: save it with its "
                "external data beside it"
            )
        if not (folder / path).is_file():
            raise InvalidModel(
                f"the model is not all there: {folder / path}, which holds weights of {file.name}, "
                "is missing: copy or save the model again"
            )
    return Interface(names=(DEFAULT_SIGNATURE,), signatures=tuple(_signatures(graph)))


def _signatures(graph: GraphProto) -> Iterator[SignatureSpec]:
    """Yield the signature, unless it takes what no request can carry."""
    weights = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    if all(each.type.HasField("tensor_type") for each in inputs):
        # Outputs that are no tensors are left out by the nodes as well.
        outputs = [each for each in graph.output if each.type.HasField("tensor_type")]
        yield SignatureSpec(
            name=DEFAULT_SIGNATURE,
            inputs=tuple(_tensor(each) for each in inputs),
            outputs=tuple(_tensor(each) for each in outputs),
        )


def _tensor(value: ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    return TensorSpec(
        name=value.name,
        dtype=_DTYPE_NAMES.get(tensor.elem_type, f"element type {tensor.elem_type}"),
        shape=tuple(map(_size, tensor.shape.dim)) if tensor.HasField("shape") else None,
    )


def _size(dimension: TensorShapeProto.Dimension) -> int:
    is_known = dimension.HasField("dim_value") and dimension.dim_value >= 0
    return dimension.dim_value if is_known else -1


def _file(folder: Path) -> Path:
    found = files(folder)
    if folder / NAME in found:
        return folder / NAME
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InvalidModel(
            f"{folder} has several ONNX files: name the one to serve {NAME}: {names}"
        )
    if not found:
        raise InvalidModel(f"{folder} is not an ONNX model: it has no file *.onnx")
    return found[0]


def _parse(file: Path) -> GraphProto:
    data = file.read_bytes()
    try:
        model = ModelProto.FromString(data)
    except DecodeError as error:
        raise InvalidModel(
            f"{file} is truncated or not an ONNX model: it cannot be parsed ({len(data)} bytes): "
            "copy or save the model again"
        ) from error
    if not model.HasField("graph"):
        raise InvalidModel(
            f"{file} holds no graph ({len(data)} bytes): copy or save the model again"
        )
    return model.graph


def _external_files(graph: GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                yield entry.value
