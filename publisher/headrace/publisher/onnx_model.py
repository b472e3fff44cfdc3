"""Looks an ONNX model over before it is published, without onnx or onnxruntime.

Finds what would make every node of the fleet fail: several files to choose from, a broken one, no
output, weights that are not there. What only loading can tell is left to the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from google.protobuf.message import DecodeError

from headrace.protos.onnx_pb2 import GraphProto, ModelProto
from headrace.publisher.errors import InvalidModel
from headrace.schemas.records import DEFAULT_SIGNATURE

NAME: Final = "model.onnx"


def files(folder: Path) -> list[Path]:
    """Return the ONNX files of a folder."""
    return sorted(folder.glob("*.onnx"))


def signatures(folder: Path) -> tuple[str, ...]:
    """Return the names of the signatures of the model in a folder: a graph has one.

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
    return (DEFAULT_SIGNATURE,)


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
