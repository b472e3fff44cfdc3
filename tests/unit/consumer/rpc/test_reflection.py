"""The descriptor pool with public names."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from headrace.consumer.rpc.reflection import public_pool
from headrace.protos.tensorflow_serving_pb2 import PredictRequest


@pytest.mark.parametrize(
    "name",
    [
        "tensorflow.serving.PredictRequest",
        "tensorflow.serving.PredictRequest.InputsEntry",
        "tensorflow.serving.ModelVersionStatus.State",
        "tensorflow.TensorProto",
        "tensorflow.error.Code",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "google.protobuf.Any",
        "google.protobuf.Int64Value",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ],
)
def test_pool_has_the_public_name(name: str) -> None:
    """Clients know these names from other people's documentation."""
    definition = FileDescriptorProto()
    public_pool().FindFileContainingSymbol(name).CopyToProto(definition)
    assert b"headrace." not in definition.SerializeToString()


def test_methods_take_and_return_public_messages() -> None:
    """A call built from the pool has the types of the published API."""
    service = public_pool().FindServiceByName("tensorflow.serving.PredictionService")
    method = service.methods_by_name["Predict"]
    assert method.input_type.full_name == "tensorflow.serving.PredictRequest"
    assert method.output_type.full_name == "tensorflow.serving.PredictResponse"


def test_own_definitions_keep_their_own_names() -> None:
    """Publishing works on copies."""
    assert PredictRequest.DESCRIPTOR.full_name == "headrace.tensorflow.serving.PredictRequest"
