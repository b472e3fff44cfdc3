"""SavedModels written by hand: what a publisher looks at, and nothing that TensorFlow could run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headrace.protos.saved_model_pb2 import SavedModel


def write_saved_model(
    folder: Path,
    *,
    signatures: Sequence[str] = ("serving_default", "__saved_model_init_op"),
    tags: Sequence[str] = ("serve",),
    shards: int = 1,
    content: str = "",
) -> Path:
    """Write a SavedModel with so many variable shards (0: none); `content` tells it apart."""
    folder.mkdir(parents=True)
    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.extend(tags)
    graph.meta_info_def.tensorflow_version = content
    for name in signatures:
        graph.signature_def[name].inputs["x"].name = "x:0"
    (folder / "saved_model.pb").write_bytes(model.SerializeToString(deterministic=True))
    if shards:
        variables = folder / "variables"
        variables.mkdir()
        (variables / "variables.index").write_bytes(b"index")
        for shard in range(shards):
            name = f"variables.data-{shard:05d}-of-{shards:05d}"
            (variables / name).write_bytes(f"shard {shard}".encode())
    return folder
