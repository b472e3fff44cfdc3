"""PredictionService: Predict, Classify, Regress, MultiInference and GetModelMetadata."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats import multi_inference
from headrace.consumer.formats.routes import decode, read_predict_route, route_of
from headrace.consumer.rpc.inference import Inference
from headrace.consumer.rpc.statuses import Context
from headrace.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)

SIGNATURE_DEF: Final = "signature_def"
SIGNATURE_DEF_TYPE: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


class PredictionService:
    """Answers what clients ask of one version of a model.

    **Concurrency:** event loop only; any number of calls at once.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def predict(self, request: bytes, context: Context) -> Awaitable[bytes | Fault]:
        """Pass a `PredictRequest` to the version that it names; see `Inference.answer`."""
        route = read_predict_route(request)
        return self._inference.answer(route, Encoding.TENSORFLOW_SERVING, request, context)

    def classify(self, request: bytes, context: Context) -> Awaitable[bytes | Fault]:
        """Pass a `ClassificationRequest` to the version that it names; see `Inference.answer`."""
        # The model spec is where it is in a `PredictRequest`.
        route = read_predict_route(request)
        return self._inference.answer(route, Encoding.CLASSIFICATION, request, context)

    def regress(self, request: bytes, context: Context) -> Awaitable[bytes | Fault]:
        """Pass a `RegressionRequest` to the version that it names; see `Inference.answer`."""
        route = read_predict_route(request)
        return self._inference.answer(route, Encoding.REGRESSION, request, context)

    async def multi_inference(self, request: bytes, context: Context) -> bytes | Fault:
        """Give one input to several signatures of one version, and return all answers or none.

        Raises:
            RequestError: the tasks do not go together, or cannot be routed, or the version's queue
                is full.

        Cancellation: as for `Inference.answer`, of all tasks.
        """
        message = multi_inference.read_tasks(request)
        deadline_seconds = self._inference.deadline_seconds(context)
        route = multi_inference.first_route(message)
        with await self._inference.acquire(route, context, deadline_seconds) as choice:
            tasks = multi_inference.split(message, choice.servable.signature_def)
            try:
                async with asyncio.TaskGroup() as group:
                    runs = [
                        group.create_task(
                            choice.infer(Calls(task.encoding, (task.payload,), (deadline_seconds,)))
                        )
                        for task in tasks
                    ]
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        outcomes = [run.result() for run in runs]
        for outcome in outcomes:
            if outcome.faults:
                return outcome.faults[0]
        return multi_inference.joined(tasks, [outcome.payloads[0] for outcome in outcomes])

    async def get_model_metadata(self, request: bytes, context: Context) -> bytes | Fault:
        """Return the signatures of a version.

        Raises:
            RequestError: the request asks for anything else, or cannot be routed.

        Source: tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc, 2.20.
        """
        asked = decode(GetModelMetadataRequest, request)
        if not asked.HasField("model_spec"):
            raise InvalidRequest("Missing ModelSpec")
        if not asked.metadata_field:
            raise InvalidRequest("GetModelMetadataRequest must specify at least one metadata_field")
        for field in asked.metadata_field:
            if field != SIGNATURE_DEF:
                raise InvalidRequest(f"Metadata field {field} is not supported")
        response = GetModelMetadataResponse()
        with await self._inference.acquire(route_of(asked.model_spec), context) as serving:
            response.model_spec.name = serving.id.model
            response.model_spec.version.value = serving.id.version
            response.metadata[SIGNATURE_DEF].CopyFrom(
                AnyMessage(type_url=SIGNATURE_DEF_TYPE, value=serving.servable.signature_def)
            )
        return response.SerializeToString()
