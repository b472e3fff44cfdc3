"""Looks a TensorFlow SavedModel over before it is published, without TensorFlow.

Finds what would make every node of the fleet fail: a wrong path, a broken graph file, nothing to
serve, variables that are not all there. What only loading can tell is left to the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from headrace.protos.saved_model_pb2 import MetaGraphDef, SavedModel, SignatureDef, TensorInfo
from headrace.protos.tensorflow_pb2 import DataType
from headrace.publisher.errors import InvalidModel
from headrace.publisher.interface import Interface
from headrace.schemas.records import SignatureSpec, TensorSpec

GRAPH_FILE: Final = "saved_model.pb"
SERVE_TAG: Final = "serve"
INIT_SIGNATURE: Final = "__saved_model_init_op"
_INDEX: Final = "variables.index"
_SHARD: Final = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")
# The other dtypes are called in numpy what TensorFlow calls them.
_NUMPY_NAMES: Final = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
_DTYPE_NAMES: Final[Mapping[int, str]] = {
    number: _NUMPY_NAMES.get(name, name.removeprefix("DT_").lower())
    for name, number in DataType.items()
}
_REFERENCE: Final = 100
"""What TensorFlow adds to the number of a dtype for a reference to a tensor of it."""


def interface(folder: Path) -> Interface:
    """Return what the SavedModel in a folder can be asked.

    A signature with a tensor that is sparse or composite is named and not described: nobody can
    call it.

    Raises:
        InvalidModel: it cannot be served; the message names the file and what to do.

    Source: SavedModel layout of TensorFlow 2.21, as `tensorflow/cc/saved_model/loader.cc` reads it.
    """
    if not (folder / GRAPH_FILE).is_file():
        raise InvalidModel(f"{folder} is not a SavedModel: it has no {GRAPH_FILE}")
    serve = _serve_graph(folder, _parse(folder / GRAPH_FILE))
    names = tuple(sorted(set(serve.signature_def) - {INIT_SIGNATURE}))
    if not names:
        raise InvalidModel(
            f"the SavedModel in {folder} has no signature to call: save it with "
            "signatures={'serving_default': …}, or with Keras' model.export()"
        )
    _check_variables(folder / "variables")
    described = [_signature(name, serve.signature_def[name]) for name in names]
    return Interface(names=names, signatures=tuple(filter(None, described)))


def _signature(name: str, definition: SignatureDef) -> SignatureSpec | None:
    if not all(info.name for info in (*definition.inputs.values(), *definition.outputs.values())):
        return None
    return SignatureSpec(
        name=name,
        inputs=_tensors(definition.inputs, set(definition.defaults)),
        outputs=_tensors(definition.outputs, set()),
    )


def _tensors(infos: Mapping[str, TensorInfo], optional: set[str]) -> tuple[TensorSpec, ...]:
    return tuple(_tensor(alias, infos[alias], alias in optional) for alias in sorted(infos))


def _tensor(alias: str, info: TensorInfo, is_optional: bool) -> TensorSpec:
    shape = [dim.size if dim.size >= 0 else -1 for dim in info.tensor_shape.dim]
    return TensorSpec(
        name=alias,
        dtype=_dtype_name(info.dtype),
        shape=None if info.tensor_shape.unknown_rank else tuple(shape),
        is_optional=is_optional,
    )


def _dtype_name(number: int) -> str:
    base = number - _REFERENCE if number > _REFERENCE else number
    return _DTYPE_NAMES.get(base, f"dtype {number}")


def _parse(graph_file: Path) -> SavedModel:
    data = graph_file.read_bytes()
    try:
        model = SavedModel.FromString(data)
    except DecodeError as error:
        raise InvalidModel(
            f"{graph_file} is truncated or not a SavedModel: it cannot be parsed "
            f"({len(data)} bytes): copy or save the model again"
        ) from error
    if not model.meta_graphs:
        raise InvalidModel(
            f"{graph_file} holds no graph ({len(data)} bytes): copy or save the model again"
        )
    return model


def _serve_graph(folder: Path, model: SavedModel) -> MetaGraphDef:
    for graph in model.meta_graphs:
        if set(graph.meta_info_def.tags) == {SERVE_TAG}:
            return graph
    found = "; ".join(_tags(graph.meta_info_def.tags) for graph in model.meta_graphs)
    raise InvalidModel(
        f"the SavedModel in {folder} has no graph tagged {SERVE_TAG!r}, it has {found}: save it "
        "for serving"
    )


def _tags(tags: Iterable[str]) -> str:
    return ", ".join(repr(tag) for tag in tags) or "one without a tag"


def _check_variables(folder: Path) -> None:
    """Check that the variables are all there, or that there are none.

    A checkpoint is `variables.index` and N shards `variables.data-0000K-of-0000N`. A model without
    variables has no such folder, or an empty one.
    """
    if not folder.is_dir():
        return
    sizes = {child.name: child.stat().st_size for child in folder.iterdir() if child.is_file()}
    shards = {name: int(match[2]) for name in sizes if (match := _SHARD.fullmatch(name))}
    if _INDEX not in sizes:
        if shards:
            raise _missing(folder / _INDEX, "is missing, but its data shards are there")
        return
    if not sizes[_INDEX]:
        raise _missing(folder / _INDEX, "is empty")
    # Files of an older save may lie beside the right ones: one complete set is enough.
    incomplete = [_first_gap(folder, total, sizes) for total in sorted(set(shards.values()))]
    if not incomplete:
        raise _missing(folder / "variables.data-00000-of-00001", "is missing")
    if all(incomplete):
        raise next(gap for gap in incomplete if gap is not None)


def _first_gap(folder: Path, total: int, sizes: dict[str, int]) -> InvalidModel | None:
    for shard in range(total):
        name = f"variables.data-{shard:05d}-of-{total:05d}"
        if name not in sizes:
            return _missing(folder / name, "is missing")
        if not sizes[name]:
            return _missing(folder / name, "is empty")
    return None


def _missing(file: Path, fault: str) -> InvalidModel:
    return InvalidModel(f"the model is not all there: {file} {fault}: copy or save the model again")
