"""The state of models, in TensorFlow Serving's JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypedDict

from aiohttp import web

from headrace.consumer.core.codes import Code
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.web.errors import refusal
from headrace.schemas.records import MAX_VERSION, ServableState, ServableStatus


class Outcome(TypedDict):
    """`tensorflow.serving.StatusProto` in JSON."""

    error_code: str
    error_message: str


class VersionStatus(TypedDict):
    """`tensorflow.serving.ModelVersionStatus` in JSON: 64-bit numbers are strings."""

    version: str
    state: str
    status: Outcome


class Models:
    """Answers `GET /v1/models/{model}` and `…/versions/{version}`.

    **Concurrency:** event loop only.

    Source: tensorflow_serving/model_servers/http_rest_api_handler.cc, 2.20.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of this part."""
        return [
            web.get("/v1/models/{model}", self._all),
            web.get(r"/v1/models/{model}/versions/{version:\d+}", self._one),
        ]

    async def _all(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        statuses = self._monitor.versions(model)
        if not statuses:
            return refusal(HTTPStatus.NOT_FOUND, f"Could not find any versions of model {model}")
        return _answer(statuses)

    async def _one(self, request: web.Request) -> web.Response:
        model, digits = request.match_info["model"], request.match_info["version"]
        version = int(digits) if len(digits) <= len(str(MAX_VERSION)) else MAX_VERSION + 1
        if version > MAX_VERSION:
            raise web.HTTPBadRequest
        for status in self._monitor.versions(model):
            if status.version == version:
                return _answer([status])
        return refusal(HTTPStatus.NOT_FOUND, f"Could not find version {version} of model {model}")


def _answer(statuses: list[ServableStatus]) -> web.Response:
    return web.json_response({"model_version_status": [_encoded(status) for status in statuses]})


def _encoded(status: ServableStatus) -> VersionStatus:
    """Return a status as clients know it: an error counts once the version has ended."""
    outcome = Outcome(error_code=Code.OK.name, error_message="")
    if status.state is ServableState.END and status.error is not None:
        # The monitor keeps an error's words and not its code.
        outcome = Outcome(error_code=Code.UNKNOWN.name, error_message=status.error)
    return VersionStatus(version=str(status.version), state=status.state.value, status=outcome)
