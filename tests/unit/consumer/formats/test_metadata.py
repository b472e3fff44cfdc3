"""Models described in Open Inference's words."""

from __future__ import annotations

import pytest

from headrace.consumer.formats.metadata import ModelMetadata, TensorMetadata, describe
from headrace.protos.tensorflow_pb2 import DataType, SignatureDef, TensorInfo, TensorShapeProto
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap


def info(dtype: DataType, shape: tuple[int, ...] | None) -> TensorInfo:
    """Return a signature's entry for a tensor; None is an unknown rank."""
    dims = [TensorShapeProto.Dim(size=size) for size in shape or ()]
    described = TensorShapeProto(dim=dims, unknown_rank=shape is None)
    return TensorInfo(name="t:0", dtype=dtype, tensor_shape=described)


def signatures(**of: SignatureDef) -> bytes:
    """Return encoded signatures."""
    return SignatureDefMap(signature_def=of).SerializeToString()


def taking(name: str) -> SignatureDef:
    """Return a signature with one input."""
    return SignatureDef(inputs={name: info(DataType.DT_FLOAT, (-1,))})


def test_tensors_are_described_by_name_in_the_protocols_words() -> None:
    """Unknown dimensions are -1, and so is the only one of an unknown rank."""
    signature = SignatureDef(
        inputs={
            "b": info(DataType.DT_STRING, None),
            "a": info(DataType.DT_HALF, (-1, 3)),
        },
        outputs={"y": info(DataType.DT_INT64, ()), "z": info(DataType.DT_COMPLEX64, (2,))},
    )
    assert describe(signatures(serving_default=signature), "tensorflow") == ModelMetadata(
        "tensorflow_savedmodel",
        (TensorMetadata("a", "FP16", (-1, 3)), TensorMetadata("b", "BYTES", (-1,))),
        (TensorMetadata("y", "INT64", ()), TensorMetadata("z", "COMPLEX64", (2,))),
    )


@pytest.mark.parametrize(
    ("names", "described"),
    [
        (("a", "serving_default", "z"), "serving_default"),
        (("z", "b", "__saved_model_init_op"), "b"),
        (("__saved_model_init_op",), None),
        ((), None),
    ],
)
def test_default_signature_is_described_or_else_the_first(
    names: tuple[str, ...], described: str | None
) -> None:
    """What TensorFlow exports for itself is never described."""
    found = describe(signatures(**{name: taking(f"of {name}") for name in names}), "tensorflow")
    assert [tensor.name for tensor in found.inputs] == ([f"of {described}"] if described else [])


@pytest.mark.parametrize(
    ("platform", "known_as"),
    [("tensorflow", "tensorflow_savedmodel"), ("onnx", "onnxruntime_onnx"), ("mine", "mine")],
)
def test_platform_has_the_name_that_clients_know(platform: str, known_as: str) -> None:
    """One that has no such name keeps its own."""
    assert describe(signatures(), platform).platform == known_as
