"""GetModelMetadata, called by TensorFlow Serving's own client stubs."""

from __future__ import annotations

import grpc
import pytest
from grpc import aio

from headrace.consumer.core.readiness import Phase
from headrace.protos import tensorflow_serving_pb2 as ours
from tests.integration.consumer.rpc.official import (
    GetModelMetadataRequest,
    ModelSpec,
    PredictionStub,
    SignatureDefMap,
    prediction_stub,
)
from tests.integration.consumer.rpc.rig import Rig, refusal


@pytest.fixture
def stub(channel: aio.Channel) -> PredictionStub:
    """TensorFlow Serving's client."""
    return prediction_stub(channel)


async def test_returns_the_signatures_of_the_version(rig: Rig, stub: PredictionStub) -> None:
    """The client unpacks them with its own message, under the public type name."""
    rig.serve("half_plus_two", 4)
    request = GetModelMetadataRequest(
        model_spec=ModelSpec(name="half_plus_two", version={"value": 3}),
        metadata_field=["signature_def"],
    )
    response = await stub.GetModelMetadata(request)
    assert (response.model_spec.name, response.model_spec.version.value) == ("half_plus_two", 3)
    signatures = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert (signature.inputs["x"].name, signature.outputs["y"].name) == ("x:0", "y:0")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (
            GetModelMetadataRequest(metadata_field=["signature_def"]),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Missing ModelSpec",
        ),
        (
            GetModelMetadataRequest(model_spec=ModelSpec(name="none")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            GetModelMetadataRequest(
                model_spec=ModelSpec(name="none"), metadata_field=["signature_def", "weights"]
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Metadata field weights is not supported",
        ),
        (
            GetModelMetadataRequest(model_spec=ModelSpec(), metadata_field=["signature_def"]),
            grpc.StatusCode.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            GetModelMetadataRequest(
                model_spec=ModelSpec(name="none"), metadata_field=["signature_def"]
            ),
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Latest(none)",
        ),
        (
            GetModelMetadataRequest(
                model_spec=ModelSpec(name="half_plus_two", version={"value": 9}),
                metadata_field=["signature_def"],
            ),
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
    ],
)
async def test_request_for_anything_else_is_refused(
    stub: PredictionStub,
    request_: ours.GetModelMetadataRequest,
    code: grpc.StatusCode,
    message: str,
) -> None:
    """What is asked for is checked before the model is looked up."""
    error = await refusal(stub.GetModelMetadata(request_))
    assert (error.code(), error.details()) == (code, message)


async def test_bytes_that_are_no_request_are_an_invalid_argument(channel: aio.Channel) -> None:
    """Garbage gets an answer that says so."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/tensorflow.serving.PredictionService/GetModelMetadata"
    )
    error = await refusal(call(b"\xff" * 9))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_draining_node_is_unavailable(rig: Rig, stub: PredictionStub) -> None:
    """A client finds another node while it still can."""
    rig.readiness.enter(Phase.DRAINING)
    request = GetModelMetadataRequest(
        model_spec=ModelSpec(name="half_plus_two"), metadata_field=["signature_def"]
    )
    error = await refusal(stub.GetModelMetadata(request))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
