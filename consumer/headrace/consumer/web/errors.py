"""How an error becomes an HTTP answer: one JSON object with the single key `error`.

Source: tensorflow_serving/model_servers/http_rest_api_util.cc, 2.20.
"""

from __future__ import annotations

from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from headrace.consumer.core.codes import Code

_log = structlog.get_logger()


def refusal(status: int, message: str) -> web.Response:
    """Return the answer to a request that cannot be served."""
    return web.json_response({"error": message}, status=status)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure alike: unknown paths, wrong verbs, and mistakes of our own."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if request.path.startswith("/v1/"):
            return refusal(
                HTTPStatus.BAD_REQUEST, f"Malformed request: {request.method} {request.path}"
            )
        answer = refusal(error.status, f"{error.reason}: {request.method} {request.path}")
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except Exception as error:  # door: our own mistake fails one request, not the node
        _log.exception("call.failed", door="http", code=Code.INTERNAL.name)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the node failed: {type(error).__name__}")
