"""Looks a TensorFlow SavedModel over before it is published, without TensorFlow.

Finds what would make every node of the fleet fail: a wrong path, a broken graph file, nothing to
serve, variables that are not all there. What only loading can tell is left to the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from headrace.protos.saved_model_pb2 import MetaGraphDef, SavedModel
from headrace.publisher.errors import InvalidModel

GRAPH_FILE: Final = "saved_model.pb"
SERVE_TAG: Final = "serve"
INIT_SIGNATURE: Final = "__saved_model_init_op"
_INDEX: Final = "variables.index"
_SHARD: Final = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")


def signatures(folder: Path) -> tuple[str, ...]:
    """Return the names of the signatures of the SavedModel in a folder.

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
    return names


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
