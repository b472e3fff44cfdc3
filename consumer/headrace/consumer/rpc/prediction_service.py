"""PredictionService: Predict, and GetModelMetadata."""

from __future__ import annotations

import time
from typing import Final, cast

from google.protobuf.any_pb2 import Any as AnyMessage

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.errors import InvalidRequest, ServableNotReady
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.formats.routes import decode, read_predict_route, route_of
from headrace.consumer.rpc.provenance import Provenance
from headrace.consumer.rpc.statuses import Context
from headrace.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)

AFFINITY_KEY: Final = "affinity"
SIGNATURE_DEF: Final = "signature_def"
SIGNATURE_DEF_TYPE: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


class PredictionService:
    """Answers what clients ask of one version of a model.

    **Concurrency:** event loop only; any number of calls at once.
    """

    def __init__(
        self,
        serving_map: ServingMap,
        readiness: Readiness,
        provenance: Provenance,
        default_timeout_seconds: float,
    ) -> None:
        self._serving_map = serving_map
        self._readiness = readiness
        self._provenance = provenance
        self._default_timeout_seconds = default_timeout_seconds

    async def predict(self, request: bytes, context: Context) -> bytes | Fault:
        """Pass a `PredictRequest` to the version that it names.

        The servable keeps the deadline: the client's, or the default when that is nearer.

        Raises:
            RequestError: the request cannot be routed, or the version's queue is full.

        Cancellation: the client gave up or its deadline passed; a request that has not reached the
        worker is dropped.
        """
        self._check_ready()
        # Despite its declared type, None when the client set no deadline.
        left = cast("float | None", context.time_remaining())
        timeout_seconds = self._default_timeout_seconds
        if left is not None and left < timeout_seconds:
            timeout_seconds = left
        deadline_seconds = time.monotonic() + timeout_seconds
        calls = Calls(Encoding.TENSORFLOW_SERVING, (request,), (deadline_seconds,))
        route, affinity = read_predict_route(request), affinity_of(context)
        with self._serving_map.acquire(route, affinity) as serving:
            context.set_trailing_metadata(self._provenance.of(serving))
            answers = await serving.servable.infer(calls)
        return answers.faults.get(0) or answers.payloads[0]

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
        self._check_ready()
        response = GetModelMetadataResponse()
        with self._serving_map.acquire(route_of(asked.model_spec), affinity_of(context)) as serving:
            response.model_spec.name = serving.id.model
            response.model_spec.version.value = serving.id.version
            response.metadata[SIGNATURE_DEF].CopyFrom(
                AnyMessage(type_url=SIGNATURE_DEF_TYPE, value=serving.servable.signature_def)
            )
            context.set_trailing_metadata(self._provenance.of(serving))
        return response.SerializeToString()

    def _check_ready(self) -> None:
        if not self._readiness.is_ready:
            phase = self._readiness.phase.name.lower()
            raise ServableNotReady(f"the node is not ready: it is {phase}")


def affinity_of(context: Context) -> bytes | None:
    """Return the bytes that keep a caller on one arm of a traffic split, when it sent any."""
    for key, value in context.invocation_metadata() or ():
        if key == AFFINITY_KEY:
            return value.encode() if isinstance(value, str) else value
    return None
