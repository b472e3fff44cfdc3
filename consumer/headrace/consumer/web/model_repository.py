"""Open Inference's model repository over REST: which models the log knows, to load and unload them.

Source: Triton's extension "Model repository".
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from aiohttp import web

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.core.repository import Repository
from headrace.consumer.web.errors import failure
from headrace.consumer.web.inference import Inference
from headrace.schemas.records import ServableState

T = TypeVar("T")

_STATES: Final = {
    ServableState.START: "LOADING",
    ServableState.LOADING: "LOADING",
    ServableState.AVAILABLE: "READY",
    ServableState.UNLOADING: "UNLOADING",
    ServableState.END: "UNAVAILABLE",
    None: "UNAVAILABLE",
}
_HARMLESS: Final = frozenset({"unload_dependents"})


class IndexRequest(msgspec.Struct):
    """`$repository_index_request`."""

    ready: bool = False


class ChangeRequest(msgspec.Struct):
    """`$repository_load_request` and `$repository_unload_request`."""

    parameters: dict[str, object] = {}


class ModelRepository:
    """Answers index, load and unload.

    **Concurrency:** event loop only.
    """

    def __init__(self, repository: Repository | None, inference: Inference) -> None:
        self._repository = repository
        self._inference = inference

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of this part."""
        return [
            web.post("/v2/repository/index", self._index),
            web.post("/v2/repository/models/{model}/load", self._load),
            web.post("/v2/repository/models/{model}/unload", self._unload),
        ]

    async def _index(self, request: web.Request) -> web.Response:
        """List every version that the log knows, or those that serve here."""
        asked = _decoded(IndexRequest, await self._inference.small_body(request))
        if self._repository is None:
            return _unserved()
        index = [
            {
                "name": listed.model,
                "version": str(listed.version),
                "state": _STATES[listed.state],
                "reason": listed.reason,
            }
            for listed in self._repository.index()
            if not asked.ready or listed.state is ServableState.AVAILABLE
        ]
        return web.json_response(index)

    async def _load(self, request: web.Request) -> web.Response:
        await self._check_parameters(request)
        if self._repository is None:
            return _unserved()
        await self._repository.load(request.match_info["model"])
        return web.json_response({})

    async def _unload(self, request: web.Request) -> web.Response:
        await self._check_parameters(request)
        if self._repository is None:
            return _unserved()
        await self._repository.unload(request.match_info["model"])
        return web.json_response({})

    async def _check_parameters(self, request: web.Request) -> None:
        """Refuse what would have another model loaded than the one that was published."""
        asked = _decoded(ChangeRequest, await self._inference.small_body(request))
        for name in asked.parameters:
            if name not in _HARMLESS:
                raise InvalidRequest(
                    f"parameter {name!r:.80} is not served here: what is loaded is what was "
                    "published"
                )


def _decoded(kind: type[T], body: bytes) -> T:
    if not body.strip():
        return kind()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"the request's JSON cannot be used: {error}") from error


def _unserved() -> web.Response:
    return failure(Code.UNIMPLEMENTED, "this node changes no models: publish and retire instead")
