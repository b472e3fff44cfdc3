"""ModelService: GetModelStatus and HandleReloadConfigRequest."""

from __future__ import annotations

from typing import Final

from headrace.consumer.core.errors import InvalidRequest, ServableNotFound
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.repository import Repository
from headrace.consumer.formats.routes import decode
from headrace.consumer.rpc.model_wishes import read_wishes
from headrace.consumer.rpc.statuses import Context, Method
from headrace.protos import tensorflow_error_pb2
from headrace.protos.tensorflow_serving_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    Metric,
    ModelVersionStatus,
    ReloadConfigRequest,
    ReloadConfigResponse,
    StatusProto,
)
from headrace.schemas.records import ServableState, ServableStatus

_STATES: Final = {
    ServableState.START: ModelVersionStatus.START,
    ServableState.LOADING: ModelVersionStatus.LOADING,
    ServableState.AVAILABLE: ModelVersionStatus.AVAILABLE,
    ServableState.UNLOADING: ModelVersionStatus.UNLOADING,
    ServableState.END: ModelVersionStatus.END,
}


class ModelService:
    """Says what state the versions of a model are in; it answers before the node is ready, too.

    With a repository it also takes orders which models to serve.

    **Concurrency:** event loop only.
    """

    def __init__(self, monitor: Monitor, repository: Repository | None = None) -> None:
        self._monitor = monitor
        self._repository = repository

    def methods(self) -> dict[str, Method]:
        """Return the methods by their public names."""
        methods: dict[str, Method] = {"GetModelStatus": self.get_model_status}
        repository = self._repository
        if repository is not None:

            async def reload(request: bytes, context: Context) -> bytes:  # noqa: ARG001 - gRPC's
                return await _reload(repository, request)

            methods["HandleReloadConfigRequest"] = reload
        return methods

    async def get_model_status(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002 - gRPC's signature
        """Return the state of one version, or of all, highest first. Labels are ignored.

        Raises:
            InvalidRequest: there is no model spec.
            ServableNotFound: this node never met the model or version.

        Source: tensorflow_serving/model_servers/get_model_status_impl.cc, 2.20.
        """
        asked = decode(GetModelStatusRequest, request)
        if not asked.HasField("model_spec"):
            raise InvalidRequest("Missing ModelSpec")
        spec = asked.model_spec
        statuses = self._monitor.versions(spec.name)
        if spec.HasField("version"):
            wanted = spec.version.value
            statuses = [status for status in statuses if status.version == wanted]
            if not statuses:
                raise ServableNotFound(f"Could not find version {wanted} of model {spec.name}")
        if not statuses:
            raise ServableNotFound(f"Could not find any versions of model {spec.name}")
        response = GetModelStatusResponse(model_version_status=map(_encoded, statuses))
        return response.SerializeToString()


async def _reload(repository: Repository, request: bytes) -> bytes:
    """Serve the models that the request lists from now on, on every node of the fleet.

    No metric of TensorFlow Serving's exists here, so none has increased.

    Raises:
        RequestError: as `Repository.reload`, and InvalidRequest for what is no list of models.

    Cancellation: what is written to the control log stays written.

    Source: tensorflow_serving/model_servers/{model_service_impl,server_core}.cc, 2.20.
    """
    asked = decode(ReloadConfigRequest, request)
    await repository.reload(read_wishes(asked.config))
    metrics = [Metric(name=n, int64_value_increase=0) for n in dict.fromkeys(asked.metric_names)]
    return ReloadConfigResponse(status=StatusProto(), metric=metrics).SerializeToString()


def _encoded(status: ServableStatus) -> ModelVersionStatus:
    """Return a status as clients know it: an error counts once the version has ended."""
    outcome = StatusProto()
    if status.state is ServableState.END and status.error is not None:
        # The monitor keeps an error's words and not its code.
        outcome.error_code = tensorflow_error_pb2.UNKNOWN
        outcome.error_message = status.error
    return ModelVersionStatus(version=status.version, state=_STATES[status.state], status=outcome)
