"""The Open Inference Protocol v2: what the server is, and which models it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Final, cast

from headrace.consumer.core.choice import Choice
from headrace.consumer.core.errors import (
    PlanNotReached,
    ServableNotFound,
    ServableNotReady,
    UnknownLabel,
)
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.formats.metadata import ModelMetadata, TensorMetadata, describe
from headrace.consumer.formats.routes import decode, infer_route_of
from headrace.consumer.rpc.inference import Inference
from headrace.consumer.rpc.statuses import Context, Method
from headrace.protos.open_inference_pb2 import (
    DataType,
    ModelConfig,
    ModelConfigRequest,
    ModelConfigResponse,
    ModelInput,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelOutput,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)

SERVER_NAME: Final = "headrace"
EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "model_repository")
"""Those of Triton's extensions that are served whole."""

_TYPES: Final = {
    name.removeprefix("TYPE_"): cast("DataType", kind) for name, kind in DataType.items()
}


class OpenInferenceModels:
    """Answers what clients ask before they infer.

    **Concurrency:** event loop only; any number of calls at once.
    """

    def __init__(self, inference: Inference, serving_map: ServingMap, readiness: Readiness) -> None:
        self._inference = inference
        self._serving_map = serving_map
        self._readiness = readiness

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by name."""
        return {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ServerMetadata": self.server_metadata,
            "ModelReady": self.model_ready,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
        }

    async def server_live(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002 - as every method
        """Say that the node lives: it answers."""
        return ServerLiveResponse(live=True).SerializeToString()

    async def server_ready(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002 - as every method
        """Say whether the node may be sent requests."""
        return ServerReadyResponse(ready=self._readiness.is_ready).SerializeToString()

    async def server_metadata(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002 - as every method
        """Say who answers, and which extensions of the protocol are served."""
        return ServerMetadataResponse(
            name=SERVER_NAME, version=version("headrace"), extensions=EXTENSIONS
        ).SerializeToString()

    async def model_ready(self, request: bytes, context: Context) -> bytes:
        """Say whether a request for this model and version would be passed on to it.

        One that waits for a control record is answered when that is there, or time is up. For a
        model that nobody knows the answer is no, and not an error, as Triton's is: clients that
        wait for a model ask until the answer is yes.

        Raises:
            InvalidRequest: there is no name, or the version cannot be one.
        """
        asked = decode(ModelReadyRequest, request)
        route = infer_route_of(asked.name, asked.version)
        try:
            await self._inference.acquire(route, context)
        except (ServableNotFound, ServableNotReady, PlanNotReached, UnknownLabel):
            is_ready = False
        else:
            is_ready = True
        return ModelReadyResponse(ready=is_ready).SerializeToString()

    async def model_metadata(self, request: bytes, context: Context) -> bytes:
        """Return the tensors of a version, and which versions of its model are AVAILABLE.

        Raises:
            RequestError: the request cannot be routed.
        """
        asked = decode(ModelMetadataRequest, request)
        route = infer_route_of(asked.name, asked.version)
        with await self._inference.acquire(route, context) as serving:
            model, described = serving.id.model, _described(serving)
        return ModelMetadataResponse(
            name=model,
            versions=map(str, self._serving_map.versions(model)),
            platform=described.platform,
            inputs=_tensors(described.inputs),
            outputs=_tensors(described.outputs),
        ).SerializeToString()

    async def model_config(self, request: bytes, context: Context) -> bytes:
        """Return the tensors of a version in the words of Triton's configuration.

        `max_batch_size` is 0: to Triton's clients that means that the shapes are those of whole
        tensors, and nothing about batching.

        Raises:
            RequestError: the request cannot be routed.
        """
        asked = decode(ModelConfigRequest, request)
        route = infer_route_of(asked.name, asked.version)
        with await self._inference.acquire(route, context) as serving:
            model, described = serving.id.model, _described(serving)
        config = ModelConfig(
            name=model,
            platform=described.platform,
            input=[
                ModelInput(name=each.name, data_type=_type(each), dims=each.shape)
                for each in described.inputs
            ],
            output=[
                ModelOutput(name=each.name, data_type=_type(each), dims=each.shape)
                for each in described.outputs
            ],
        )
        return ModelConfigResponse(config=config).SerializeToString()


def _described(serving: Choice) -> ModelMetadata:
    return describe(serving.servable.signature_def, serving.planned.record.platform)


def _tensors(described: Iterable[TensorMetadata]) -> list[ModelMetadataResponse.TensorMetadata]:
    return [
        ModelMetadataResponse.TensorMetadata(
            name=each.name, datatype=each.datatype, shape=each.shape
        )
        for each in described
    ]


def _type(tensor: TensorMetadata) -> DataType:
    """Return Triton's number of a datatype, TYPE_INVALID for one that it has not."""
    name = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return _TYPES.get(name, DataType.TYPE_INVALID)
