"""TensorFlow Serving's own stubs, unmodified and blocking, and short ways to fill its messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import grpc
import numpy as np
import numpy.typing as npt
import tensorflow as tf  # type: ignore[import-untyped]
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from headrace.protos import tensorflow_pb2
from headrace.protos import tensorflow_serving_pb2 as ours
from tests.integration.consumer.rpc.official import (
    ClassificationRequest,
    Example,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    Input,
    ModelSpec,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
)

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
STYLES = ("tf1", "tf2")
TIMEOUT_SECONDS = 30.0

Array = npt.NDArray[Any]
T = TypeVar("T")


class PredictionStub(Protocol):
    """`tensorflow.serving.PredictionService`, blocking."""

    Predict: grpc.UnaryUnaryMultiCallable[ours.PredictRequest, ours.PredictResponse]
    Classify: grpc.UnaryUnaryMultiCallable[ours.ClassificationRequest, ours.ClassificationResponse]
    Regress: grpc.UnaryUnaryMultiCallable[ours.RegressionRequest, ours.RegressionResponse]
    MultiInference: grpc.UnaryUnaryMultiCallable[
        ours.MultiInferenceRequest, ours.MultiInferenceResponse
    ]
    GetModelMetadata: grpc.UnaryUnaryMultiCallable[
        ours.GetModelMetadataRequest, ours.GetModelMetadataResponse
    ]


class ModelStub(Protocol):
    """`tensorflow.serving.ModelService`, blocking."""

    GetModelStatus: grpc.UnaryUnaryMultiCallable[
        ours.GetModelStatusRequest, ours.GetModelStatusResponse
    ]
    HandleReloadConfigRequest: grpc.UnaryUnaryMultiCallable[
        ours.ReloadConfigRequest, ours.ReloadConfigResponse
    ]


def prediction_stub(channel: grpc.Channel) -> PredictionStub:
    """Return a client of the prediction service."""
    made = cast("Any", prediction_service_pb2_grpc).PredictionServiceStub(channel)
    return cast("PredictionStub", made)


def model_stub(channel: grpc.Channel) -> ModelStub:
    """Return a client of the model service."""
    made = cast("Any", model_service_pb2_grpc).ModelServiceStub(channel)
    return cast("ModelStub", made)


class Refusal(Exception):
    """A status other than OK, and its message."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code.name
        self.message = message


def called(call: Callable[..., T], request: object, timeout: float = TIMEOUT_SECONDS) -> T:
    """Return what a call answers.

    Raises:
        Refusal: it has another status than OK.
    """
    try:
        return call(request, timeout=timeout)
    except grpc.RpcError as error:
        failed = cast("grpc.Call", error)
        raise Refusal(failed.code(), failed.details() or "") from error


def spec(model: str, signature: str = "", **choice: Any) -> ours.ModelSpec:  # noqa: ANN401 - version or label
    """Return a model spec; `version={"value": 3}` or `version_label="stable"`."""
    return ModelSpec(name=model, signature_name=signature, **choice)


def tensor(value: npt.ArrayLike | Array, dtype: Any = None) -> tensorflow_pb2.TensorProto:  # noqa: ANN401 - what TensorFlow takes
    """Return TensorFlow's own message of a value, in typed fields where it is a list."""
    return cast("tensorflow_pb2.TensorProto", cast("Any", tf).make_tensor_proto(value, dtype))


def array(proto: tensorflow_pb2.TensorProto) -> Array:
    """Return a message's value, read by TensorFlow."""
    return cast("Array", cast("Any", tf).make_ndarray(proto))


def predict_request(
    asked: ours.ModelSpec | None,
    inputs: Mapping[str, npt.ArrayLike | tensorflow_pb2.TensorProto],
    *output_filter: str,
) -> ours.PredictRequest:
    """Return a request; Python's floats are DT_FLOAT, its integers DT_INT32."""
    request = PredictRequest(output_filter=output_filter)
    if asked is not None:
        request.model_spec.CopyFrom(asked)
    for alias, value in inputs.items():
        is_proto = type(value).__name__ == "TensorProto"
        made = value if is_proto else tensor(cast("npt.ArrayLike", value))
        request.inputs[alias].CopyFrom(cast("tensorflow_pb2.TensorProto", made))
    return request


def outputs_of(response: ours.PredictResponse) -> dict[str, Any]:
    """Return the outputs as nested lists."""
    return {alias: array(proto).tolist() for alias, proto in response.outputs.items()}


def example(**features: float | bytes) -> tensorflow_pb2.Example:
    """Return an example of single values, in TensorFlow's own message."""
    made = Example()
    for name, value in features.items():
        if isinstance(value, bytes):
            made.features.feature[name].bytes_list.value.append(value)
        else:
            made.features.feature[name].float_list.value.append(value)
    return made


def listed(*examples: tensorflow_pb2.Example | float) -> ours.Input:
    """Return a list of examples, each given or by its x."""
    made = Input()
    made.example_list.SetInParent()
    for each in examples:
        one = example(x=each) if isinstance(each, (int, float)) else each
        made.example_list.examples.append(one)
    return made


def with_context(context: tensorflow_pb2.Example, *examples: tensorflow_pb2.Example) -> ours.Input:
    """Return a list of examples that share features."""
    made = Input()
    made.example_list_with_context.context.CopyFrom(context)
    made.example_list_with_context.examples.extend(examples)
    return made


def classes(result: ours.ClassificationResult) -> list[list[tuple[str, float]]]:
    """Return labels and scores by example."""
    return [
        [(each.label, each.score) for each in classifications.classes]
        for classifications in result.classifications
    ]


def values(result: ours.RegressionResult) -> list[float]:
    """Return the numbers."""
    return [regression.value for regression in result.regressions]


def multi_request(
    made: ours.Input | None, *tasks: tuple[ours.ModelSpec | None, str]
) -> ours.MultiInferenceRequest:
    """Return a request with these tasks."""
    request = MultiInferenceRequest(input=made)
    for asked, method in tasks:
        request.tasks.add(model_spec=asked, method_name=method)
    return request


class Client:
    """Every method of TensorFlow Serving that asks one model something of the same form."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.prediction = prediction_stub(channel)
        self.models = model_stub(channel)

    def predict(
        self,
        asked: ours.ModelSpec | None,
        inputs: Mapping[str, npt.ArrayLike | tensorflow_pb2.TensorProto],
        *output_filter: str,
    ) -> ours.PredictResponse:
        """Predict."""
        return called(self.prediction.Predict, predict_request(asked, inputs, *output_filter))

    def classify(
        self, asked: ours.ModelSpec | None, made: ours.Input | None
    ) -> ours.ClassificationResponse:
        """Classify."""
        request = ClassificationRequest(model_spec=asked, input=made)
        return called(self.prediction.Classify, request)

    def regress(
        self, asked: ours.ModelSpec | None, made: ours.Input | None
    ) -> ours.RegressionResponse:
        """Regress."""
        return called(self.prediction.Regress, RegressionRequest(model_spec=asked, input=made))

    def multi(
        self, made: ours.Input | None, *tasks: tuple[ours.ModelSpec | None, str]
    ) -> ours.MultiInferenceResponse:
        """Run several tasks."""
        return called(self.prediction.MultiInference, multi_request(made, *tasks))

    def metadata(self, asked: ours.ModelSpec | None, *fields: str) -> ours.GetModelMetadataResponse:
        """Ask for metadata."""
        request = GetModelMetadataRequest(model_spec=asked, metadata_field=fields)
        return called(self.prediction.GetModelMetadata, request)

    def status(self, asked: ours.ModelSpec | None) -> Sequence[ours.ModelVersionStatus]:
        """Ask for the states of versions."""
        request = GetModelStatusRequest(model_spec=asked)
        return called(self.models.GetModelStatus, request).model_version_status


def serialised(*examples: tensorflow_pb2.Example) -> Array:
    """Return examples as the strings that a model parses."""
    return np.array([each.SerializeToString() for each in examples], object)
