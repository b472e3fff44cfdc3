"""TensorFlow Serving's own messages and client stubs, unmodified.

To a type checker they are our messages, which have the same fields; importing this imports
TensorFlow.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from grpc import aio
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from headrace.protos import tensorflow_serving_pb2 as ours

ModelSpec = cast("type[ours.ModelSpec]", cast("Any", model_pb2).ModelSpec)
PredictRequest = cast("type[ours.PredictRequest]", cast("Any", predict_pb2).PredictRequest)
SignatureDefMap = cast(
    "type[ours.SignatureDefMap]", cast("Any", get_model_metadata_pb2).SignatureDefMap
)
GetModelMetadataRequest = cast(
    "type[ours.GetModelMetadataRequest]",
    cast("Any", get_model_metadata_pb2).GetModelMetadataRequest,
)
GetModelStatusRequest = cast(
    "type[ours.GetModelStatusRequest]", cast("Any", get_model_status_pb2).GetModelStatusRequest
)
ReloadConfigRequest = cast(
    "type[ours.ReloadConfigRequest]", cast("Any", model_management_pb2).ReloadConfigRequest
)


class PredictionStub(Protocol):
    """`tensorflow.serving.PredictionService`, as far as it is served here."""

    Predict: aio.UnaryUnaryMultiCallable[ours.PredictRequest, ours.PredictResponse]
    GetModelMetadata: aio.UnaryUnaryMultiCallable[
        ours.GetModelMetadataRequest, ours.GetModelMetadataResponse
    ]


class ModelStub(Protocol):
    """`tensorflow.serving.ModelService`, as far as it is served here."""

    GetModelStatus: aio.UnaryUnaryMultiCallable[
        ours.GetModelStatusRequest, ours.GetModelStatusResponse
    ]
    HandleReloadConfigRequest: aio.UnaryUnaryMultiCallable[
        ours.ReloadConfigRequest, ours.ReloadConfigResponse
    ]


def prediction_stub(channel: aio.Channel) -> PredictionStub:
    """Return a client of the prediction service."""
    made = cast("Any", prediction_service_pb2_grpc).PredictionServiceStub(channel)
    return cast("PredictionStub", made)


def model_stub(channel: aio.Channel) -> ModelStub:
    """Return a client of the model service."""
    made = cast("Any", model_service_pb2_grpc).ModelServiceStub(channel)
    return cast("ModelStub", made)
