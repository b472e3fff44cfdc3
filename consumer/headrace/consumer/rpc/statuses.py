"""How an outcome becomes a gRPC status: the one table, and the one way to refuse a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import grpc
import structlog
from grpc.aio import ServicerContext

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RequestError

Context = ServicerContext[bytes, bytes]
Method = Callable[[bytes, Context], Awaitable[bytes | Fault]]

GRPC_STATUS: Final[Mapping[Code, grpc.StatusCode]] = {
    Code.OK: grpc.StatusCode.OK,
    Code.CANCELLED: grpc.StatusCode.CANCELLED,
    Code.UNKNOWN: grpc.StatusCode.UNKNOWN,
    Code.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Code.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Code.ABORTED: grpc.StatusCode.ABORTED,
    Code.OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    Code.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.DATA_LOSS: grpc.StatusCode.DATA_LOSS,
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
}

MAX_MESSAGE_BYTES: Final = 1024
TRUNCATED: Final = "...TRUNCATED"

_log = structlog.get_logger()


def cut(message: str) -> str:
    """Return a status message of bounded size, marked where it was cut.

    A message travels percent-encoded in a header, and clients refuse large headers.

    Source: tensorflow_serving/model_servers/grpc_status_util.cc, 2.20.
    """
    encoded = message.encode(errors="replace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[:MAX_MESSAGE_BYTES].decode(errors="ignore") + TRUNCATED


async def outcome(method: Method, request: bytes, context: Context) -> bytes | Fault:
    """Return what a method answers to a request, or why it does not."""
    try:
        return await method(request, context)
    except RequestError as error:
        return Fault(error.code, str(error))
    except Exception as error:  # door: our own mistake fails one call, not the node
        _log.exception("call.failed", door="grpc", code=Code.INTERNAL.name)
        return Fault(Code.INTERNAL, f"the node failed: {type(error).__name__}")


def unary(method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return gRPC's handler of a method that takes bytes and returns bytes, or why not."""

    async def respond(request: bytes, context: Context) -> bytes:
        answer = await outcome(method, request, context)
        if isinstance(answer, Fault):
            await context.abort(GRPC_STATUS[answer.code], cut(answer.message))
        return answer

    return grpc.unary_unary_rpc_method_handler(respond)


def unserved(reason: str) -> Method:
    """Return a method that clients know and that is not served, and says why not."""

    async def refuse(request: bytes, context: Context) -> Fault:  # noqa: ARG001 - as every method
        return Fault(Code.UNIMPLEMENTED, reason)

    return refuse
