"""The Open Inference Protocol's REST API: everything below `/v2`.

Source: Open Inference Protocol v2, "HTTP/REST"; Triton's extensions "Binary tensor data" and "Model
repository".
"""

from __future__ import annotations

import struct
from dataclasses import asdict
from importlib.metadata import version
from typing import Final

from aiohttp import web

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.formats.metadata import describe
from headrace.consumer.formats.routes import infer_route_of
from headrace.consumer.web.inference import Exchange, Inference
from headrace.schemas.records import Route, ServableState

JSON_LENGTH: Final = "Inference-Header-Content-Length"
EXTENSIONS: Final = ("binary_tensor_data", "model_repository")

_LENGTH: Final = struct.Struct("<I")
_MAX_DIGITS: Final = 10


class OpenInference:
    """Answers health, metadata and infer.

    **Concurrency:** event loop only.
    """

    def __init__(self, inference: Inference, monitor: Monitor) -> None:
        self._inference = inference
        self._monitor = monitor

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of this part."""
        paths = [
            web.get("/v2", self._server),
            web.get("/v2/health/live", self._live),
            web.get("/v2/health/ready", self._ready),
        ]
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            paths += [
                web.get(model, self._model),
                web.get(f"{model}/ready", self._model_ready),
                web.post(f"{model}/infer", self._infer),
            ]
        return paths

    async def _server(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        body = {"name": "headrace", "version": version("headrace"), "extensions": EXTENSIONS}
        return web.json_response(body)

    async def _live(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        return web.json_response({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        self._inference.check_ready()
        return web.json_response({"ready": True})

    async def _model_ready(self, request: web.Request) -> web.Response:
        with await self._inference.acquire(request, _route(request)) as choice:
            return self._inference.described(choice, {"name": choice.id.model, "ready": True})

    async def _model(self, request: web.Request) -> web.Response:
        with await self._inference.acquire(request, _route(request)) as choice:
            model, platform = choice.id.model, choice.planned.record.platform
            described = asdict(describe(choice.servable.signature_def, platform))
        statuses = reversed(self._monitor.versions(model))
        available = [str(s.version) for s in statuses if s.state is ServableState.AVAILABLE]
        body = {"name": model, "versions": available} | described
        return self._inference.described(choice, body)

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        return await self._inference.answer(request, _route(request), _EXCHANGE)


def _route(request: web.Request) -> Route:
    names = request.match_info
    return infer_route_of(names["model"], names.get("version", ""))


def _framed(request: web.Request, body: bytes) -> bytes:
    """Return a body behind the length of its JSON: all of it, unless a header says otherwise."""
    text, length = request.headers.get(JSON_LENGTH), len(body)
    if text is not None:
        is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
        length = int(text) if is_number else -1
        if not 0 <= length <= len(body):
            raise InvalidRequest(
                f"{JSON_LENGTH} is {text!r:.40}: give the bytes of JSON in the body, which has "
                f"{len(body)}"
            )
    return _LENGTH.pack(length) + body


def _unframed(payload: bytes) -> web.Response:
    (length,) = _LENGTH.unpack_from(payload)
    body = payload[_LENGTH.size :]
    if length == len(body):
        return web.Response(body=body, content_type="application/json")
    headers = {JSON_LENGTH: str(length)}
    return web.Response(body=body, headers=headers, content_type="application/octet-stream")


_EXCHANGE: Final = Exchange(Encoding.OPEN_INFERENCE_JSON, _framed, _unframed)
