"""How an outcome becomes a gRPC status: the one table, and the one way to refuse a call."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import grpc
import structlog
from grpc.aio import ServicerContext

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import NodeBusy, QueueFull, RequestError
from headrace.consumer.rpc.admission import Admission

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


def pushback(retry_after_seconds: float) -> tuple[tuple[str, str], ...]:
    """Return the metadata by which a refused client learns when to come back.

    `retry-after` is for people and for proxies, in whole seconds. gRPC's own clients obey the other
    when they have a retry policy, to the millisecond and without any jitter, so it is spread here:
    what was refused together must not come back together.

    Source: gRFC A6, section "Pushback".
    """
    milliseconds = retry_after_seconds * 1000 * random.uniform(0.75, 1.25)
    return (
        ("retry-after", str(max(1, math.ceil(retry_after_seconds)))),
        ("grpc-retry-pushback-ms", str(max(1, round(milliseconds)))),
    )


async def outcome(method: Method, request: bytes, context: Context) -> bytes | Fault:
    """Return what a method answers to a request, or why it does not."""
    try:
        return await method(request, context)
    except RequestError as error:
        return Fault(error.code, str(error))
    except Exception as error:  # door: our own mistake fails one request, not the node
        _log.exception("call.failed", door="grpc", code=Code.INTERNAL.name)
        return Fault(Code.INTERNAL, f"the node failed: {type(error).__name__}")


def unary(method: Method, admission: Admission) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return gRPC's handler of a method that takes bytes and returns bytes, or why not.

    To gRPC it is a method that takes a stream, which is the same on the wire. So we read the
    request ourselves: not before the call is let in, and not for ever.
    """

    async def respond(_: object, context: Context) -> bytes:
        details: tuple[tuple[str, str | bytes], ...] = ()
        try:
            answer = await method(await admission.receive(context), context)
        except (QueueFull, NodeBusy) as error:
            details = (*context.trailing_metadata(), *pushback(error.retry_after_seconds))
            answer = Fault(error.code, str(error))
        except RequestError as error:
            answer = Fault(error.code, str(error))
        except Exception as error:  # door: our own mistake fails one call, not the node
            _log.exception("call.failed", door="grpc", code=Code.INTERNAL.name)
            answer = Fault(Code.INTERNAL, f"the node failed: {type(error).__name__}")
        if isinstance(answer, Fault):
            await context.abort(GRPC_STATUS[answer.code], cut(answer.message), details)
        return admission.answer(answer)

    return grpc.stream_unary_rpc_method_handler(respond)


def unserved(reason: str) -> Method:
    """Return a method that clients know and that is not served, and says why not."""

    async def refuse(request: bytes, context: Context) -> Fault:  # noqa: ARG001 - as every method
        return Fault(Code.UNIMPLEMENTED, reason)

    return refuse
