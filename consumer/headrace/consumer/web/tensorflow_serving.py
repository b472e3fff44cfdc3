"""TensorFlow Serving's REST API: everything below `/v1/`.

Source: tensorflow_serving/model_servers/http_rest_api_handler.cc, 2.20.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, TypedDict

from aiohttp import hdrs, web
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, ServableNotFound
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.web.inference import Exchange, Inference
from headrace.consumer.web.paths import What, read_path
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, SignatureDefMap
from headrace.schemas.records import Route, ServableState, ServableStatus


class Outcome(TypedDict):
    """`tensorflow.serving.StatusProto` in JSON."""

    error_code: str
    error_message: str


class VersionStatus(TypedDict):
    """`tensorflow.serving.ModelVersionStatus` in JSON: 64-bit numbers are strings."""

    version: str
    state: str
    status: Outcome


class TensorFlowServing:
    """Answers predict, classify, regress, status and metadata.

    **Concurrency:** event loop only.
    """

    def __init__(self, inference: Inference, monitor: Monitor) -> None:
        self._inference = inference
        self._monitor = monitor

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of this part: one, since upper and lower case are the same here."""
        return [web.route("*", "/{v1:[vV]1}/{rest:(?s:.*)}", self._answer)]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS:
            return _preflight(request)
        what, route = read_path(request.method, request.rel_url.raw_path)
        match what:
            case What.STATUS:
                return self._status(route)
            case What.METADATA:
                return await self._metadata(request, route)
            case _:
                return await self._inference.answer(request, route, _EXCHANGES[what])

    def _status(self, route: Route) -> web.Response:
        """Return the state of one version, or of all, highest first. Labels are ignored."""
        model, version = route.model, route.version
        statuses = self._monitor.versions(model)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise ServableNotFound(f"Could not find version {version} of model {model}")
        if not statuses:
            raise ServableNotFound(f"Could not find any versions of model {model}")
        return web.json_response({"model_version_status": [*map(_encoded, statuses)]})

    async def _metadata(self, request: web.Request, route: Route) -> web.Response:
        with await self._inference.acquire(request, route) as choice:
            spec = ModelSpec(name=choice.id.model)
            spec.version.value = choice.id.version
            signatures = SignatureDefMap.FromString(choice.servable.signature_def)
        body = {"model_spec": _shown(spec), "metadata": {"signature_def": _shown(signatures)}}
        return self._inference.described(choice, body)


def _preflight(request: web.Request) -> web.Response:
    """Answer a browser that asks what it may do; the headers that allow it are the door's."""
    if not request.headers.get(hdrs.ORIGIN, "").startswith(("http://", "https://")):
        raise InvalidRequest("OPTIONS is for browsers: it needs an Origin of http or https")
    return web.Response(status=HTTPStatus.OK)


def _encoded(status: ServableStatus) -> VersionStatus:
    """Return a status as clients know it: an error counts once the version has ended."""
    outcome = Outcome(error_code=Code.OK.name, error_message="")
    if status.state is ServableState.END and status.error is not None:
        # The monitor keeps an error's words and not its code.
        outcome = Outcome(error_code=Code.UNKNOWN.name, error_message=status.error)
    return VersionStatus(version=str(status.version), state=status.state.value, status=outcome)


def _shown(message: Message) -> object:
    """Return a message in JSON as upstream prints it: our names, and what is empty, too."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _as_it_is(request: web.Request, body: bytes) -> bytes:  # noqa: ARG001 - an Exchange's signature
    return body


def _json(payload: bytes) -> web.Response:
    return web.Response(body=payload, content_type="application/json")


_EXCHANGES: Final = {
    What.PREDICT: Exchange(Encoding.TENSORFLOW_JSON, _as_it_is, _json),
    What.CLASSIFY: Exchange(Encoding.CLASSIFICATION_JSON, _as_it_is, _json),
    What.REGRESS: Exchange(Encoding.REGRESSION_JSON, _as_it_is, _json),
}
