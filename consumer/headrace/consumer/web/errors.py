"""How an outcome becomes an HTTP status: the one table, and the one way to refuse a request.

An error is one JSON object with the single key `error`, for both APIs.

Source: tensorflow_serving/model_servers/http_server.cc, 2.20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import NodeBusy, QueueFull, RequestError

CLIENT_CLOSED_REQUEST: Final = 499

HTTP_STATUS: Final[Mapping[Code, int]] = {
    Code.OK: HTTPStatus.OK,
    Code.CANCELLED: CLIENT_CLOSED_REQUEST,
    Code.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}

_log = structlog.get_logger()


class Refused(Exception):
    """A request that HTTP has a status of its own for, such as a body that is too large."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def refusal(status: int, message: str) -> web.Response:
    """Return the answer to a request that cannot be served."""
    return web.json_response({"error": message}, status=status)


def failure(code: Code, message: str) -> web.Response:
    """Return the answer to a request that ended in an error."""
    return refusal(HTTP_STATUS[code], message)


def refused(error: RequestError) -> web.Response:
    """Return the answer to a request that ended in this error."""
    answer = failure(error.code, str(error))
    if isinstance(error, QueueFull | NodeBusy):
        answer.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_seconds)))
    return answer


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure alike: refusals, unknown paths, wrong verbs, and mistakes of our own."""
    try:
        return await handler(request)
    except RequestError as error:
        return refused(error)
    except Refused as error:
        return refusal(error.status, str(error))
    except web.HTTPException as error:
        path = request.rel_url.raw_path
        answer = refusal(error.status, f"{error.reason}: {request.method} {path}")
        if hdrs.ALLOW in error.headers:
            answer.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return answer
    except ConnectionError:
        raise  # The client is gone, and so is whoever would read an answer.
    except Exception as error:  # door: our own mistake fails one request, not the node
        _log.exception("call.failed", door="http", code=Code.INTERNAL.name)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the node failed: {type(error).__name__}")
