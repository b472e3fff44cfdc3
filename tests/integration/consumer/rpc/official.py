"""TensorFlow Serving's own messages and client stubs, unmodified.

To a type checker they are our messages, which have the same fields; importing this imports
TensorFlow.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from grpc import aio
from tensorflow.core.example import example_pb2  # type: ignore[import-untyped]
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from headrace.protos import tensorflow_pb2
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

Example = cast("type[tensorflow_pb2.Example]", cast("Any", example_pb2).Example)
Input = cast("type[ours.Input]", cast("Any", input_pb2).Input)
ClassificationRequest = cast(
    "type[ours.ClassificationRequest]", cast("Any", classification_pb2).ClassificationRequest
)
ClassificationResponse = cast(
    "type[ours.ClassificationResponse]", cast("Any", classification_pb2).ClassificationResponse
)
RegressionRequest = cast(
    "type[ours.RegressionRequest]", cast("Any", regression_pb2).RegressionRequest
)
RegressionResponse = cast(
    "type[ours.RegressionResponse]", cast("Any", regression_pb2).RegressionResponse
)
MultiInferenceRequest = cast(
    "type[ours.MultiInferenceRequest]", cast("Any", inference_pb2).MultiInferenceRequest
)


class PredictionStub(Protocol):
    """`tensorflow.serving.PredictionService`, as far as it is served here."""

    Predict: aio.UnaryUnaryMultiCallable[ours.PredictRequest, ours.PredictResponse]
    Classify: aio.UnaryUnaryMultiCallable[ours.ClassificationRequest, ours.ClassificationResponse]
    Regress: aio.UnaryUnaryMultiCallable[ours.RegressionRequest, ours.RegressionResponse]
    MultiInference: aio.UnaryUnaryMultiCallable[
        ours.MultiInferenceRequest, ours.MultiInferenceResponse
    ]
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
