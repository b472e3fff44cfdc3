"""The Open Inference Protocol's model repository extension: which models there are, load, unload.

What a client asks of one node becomes events on the control log, which the whole fleet follows.

Source: triton-inference-server/server, docs/protocol/extension_model_repository.md, 2.73.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.core.repository import Listed, Repository
from headrace.consumer.formats.routes import decode
from headrace.consumer.rpc.statuses import Context, Method
from headrace.protos.open_inference_pb2 import (
    ModelRepositoryParameter,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
)
from headrace.schemas.records import ServableState

_READY: Final = "READY"
_STATES: Final[Mapping[ServableState | None, str]] = {
    None: "UNAVAILABLE",
    ServableState.START: "LOADING",
    ServableState.LOADING: "LOADING",
    ServableState.AVAILABLE: _READY,
    ServableState.UNLOADING: "UNLOADING",
    ServableState.END: "UNAVAILABLE",
}
_UNLOAD_DEPENDENTS: Final = "unload_dependents"
_ONE_REPOSITORY: Final = Fault(
    Code.UNIMPLEMENTED,
    "'repository_name' specification is not supported: there is one repository, the control log",
)


class OpenInferenceRepository:
    """Answers what clients ask about, and of, the set of models.

    **Concurrency:** event loop only; changes take turns in the repository.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by name."""
        return {
            "RepositoryIndex": self.index,
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
        }

    async def index(self, request: bytes, context: Context) -> bytes | Fault:  # noqa: ARG002 - as every method
        """Return every version that the log knows, or those that are ready."""
        asked = decode(RepositoryIndexRequest, request)
        if asked.repository_name:
            return _ONE_REPOSITORY
        entries = map(_entry, self._repository.index())
        return RepositoryIndexResponse(
            models=[each for each in entries if each.state == _READY or not asked.ready]
        ).SerializeToString()

    async def load(self, request: bytes, context: Context) -> bytes | Fault:  # noqa: ARG002 - as every method
        """Return when a model serves here.

        Raises:
            RequestError: see `Repository.load`; or the request brings a model of its own.
        """
        asked = decode(RepositoryModelLoadRequest, request)
        if asked.repository_name:
            return _ONE_REPOSITORY
        for name in asked.parameters:
            raise InvalidRequest(
                f"load parameter {name!r:.80} is not taken: models and their configuration come "
                "from the control log; publish a version there"
            )
        _require_name(asked.model_name)
        await self._repository.load(asked.model_name)
        return RepositoryModelLoadResponse().SerializeToString()

    async def unload(self, request: bytes, context: Context) -> bytes | Fault:  # noqa: ARG002 - as every method
        """Return when a model serves here no more. No model depends on another one.

        Raises:
            RequestError: see `Repository.unload`; or a parameter that is not known.
        """
        asked = decode(RepositoryModelUnloadRequest, request)
        if asked.repository_name:
            return _ONE_REPOSITORY
        _check_unload_parameters(asked.parameters)
        _require_name(asked.model_name)
        await self._repository.unload(asked.model_name)
        return RepositoryModelUnloadResponse().SerializeToString()


def _entry(listed: Listed) -> RepositoryIndexResponse.ModelIndex:
    return RepositoryIndexResponse.ModelIndex(
        name=listed.model,
        version=str(listed.version),
        state=_STATES[listed.state],
        reason=listed.reason,
    )


def _require_name(model: str) -> None:
    if not model:
        raise InvalidRequest("the request names no model: set model_name")


def _check_unload_parameters(parameters: Mapping[str, ModelRepositoryParameter]) -> None:
    for name, value in parameters.items():
        if name != _UNLOAD_DEPENDENTS:
            raise InvalidRequest(
                f"unload parameter {name!r:.80} is not known; known is {_UNLOAD_DEPENDENTS}"
            )
        if value.WhichOneof("parameter_choice") != "bool_param":
            raise InvalidRequest(f"unload parameter {_UNLOAD_DEPENDENTS} must be a bool_param")
