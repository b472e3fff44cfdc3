"""PredictionService: Predict, and GetModelMetadata."""

from __future__ import annotations

from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage

from headrace.consumer.core.calls import Encoding, Fault
from headrace.consumer.core.errors import InvalidRequest
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

    async def predict(self, request: bytes, context: Context) -> bytes | Fault:
        """Pass a `PredictRequest` to the version that it names; see `Inference.answer`."""
        route = read_predict_route(request)
        return await self._inference.answer(route, Encoding.TENSORFLOW_SERVING, request, context)

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
        with self._inference.acquire(route_of(asked.model_spec), context) as serving:
            response.model_spec.name = serving.id.model
            response.model_spec.version.value = serving.id.version
            response.metadata[SIGNATURE_DEF].CopyFrom(
                AnyMessage(type_url=SIGNATURE_DEF_TYPE, value=serving.servable.signature_def)
            )
        return response.SerializeToString()
