"""What a publisher reads of a model without loading it is what its worker says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.consumer.platforms.signature import DTYPES
from headrace.consumer.workers.loader import WorkerLoader
from headrace.protos.tensorflow_pb2 import TensorInfo
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap
from headrace.publisher.model_folder import inspect
from headrace.schemas.records import Batching, SignatureSpec, TensorSpec
from tests.integration.consumer.workers.rig import publish
from tests.models import model
from tests.onnx_models import write_onnx
from tests.python_models import write_python

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = {number: "string" if dtype.kind == "O" else dtype.name for dtype, number in DTYPES.items()}
WRITERS: dict[str, Callable[[str, Path], Path]] = {
    "tensorflow": lambda name, _folder: model(name),
    "onnx": write_onnx,
    "python": write_python,
}


def told(alias: str, info: TensorInfo) -> TensorSpec:
    """Return a tensor as a worker describes it."""
    sizes = tuple(dim.size for dim in info.tensor_shape.dim)
    shape = None if info.tensor_shape.unknown_rank else sizes
    return TensorSpec(name=alias, dtype=NAMES[info.dtype], shape=shape)


def plain(signature: SignatureSpec) -> SignatureSpec:
    """Return a signature in the order of its aliases, without what a worker does not tell."""
    return replace(
        signature,
        inputs=_sorted(replace(spec, is_optional=False) for spec in signature.inputs),
        outputs=_sorted(signature.outputs),
    )


def _sorted(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(sorted(specs, key=lambda spec: spec.name))


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("tensorflow", "half_plus_two_zoo"),
        ("tensorflow", "sampler_tf1"),
        ("tensorflow", "sampler_tf2"),
        ("tensorflow", "kinds"),
        ("tensorflow", "with_default"),
        ("onnx", "kinds"),
        ("onnx", "with_weights"),
        ("onnx", "two_batches"),
        ("python", "half_plus_two"),
        ("python", "text"),
    ],
)
async def test_the_files_tell_what_the_worker_tells(
    loader: WorkerLoader, tmp_path: Path, platform: str, name: str
) -> None:
    """Signatures, aliases, dtypes and shapes, of every platform of ours."""
    folder = WRITERS[platform](name, tmp_path / "model")
    planned = publish(folder, tmp_path / "store")
    planned = replace(planned, record=replace(planned.record, platform=platform))
    servable = await loader.load(planned, Batching(), yields_cpu=False)
    try:
        definitions = SignatureDefMap.FromString(servable.signature_def).signature_def
    finally:
        await servable.unload()
    found = {
        key: SignatureSpec(
            name=key,
            inputs=_sorted(told(alias, info) for alias, info in definition.inputs.items()),
            outputs=_sorted(told(alias, info) for alias, info in definition.outputs.items()),
        )
        for key, definition in definitions.items()
    }
    summary = inspect(folder)
    assert {each.name: plain(each) for each in summary.interface} == found
    assert set(summary.signatures) == set(found)
