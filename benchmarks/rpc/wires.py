"""The two ways to ask over gRPC, and one question whose answer is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc
import numpy as np
from grpc import aio

from benchmarks import infer_wire, predict_wire
from benchmarks.measurement import BenchmarkError
from benchmarks.predict_wire import Call, Floats

_DEADLINE_SECONDS: Final = 30.0
_ANY_SIZE: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Unanswered(BenchmarkError):
    """A server has no such method."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One protocol: the method, how a request is built and an output read."""

    method: str
    request_bytes: Callable[[str, str, Floats], bytes]
    output_of: Callable[[bytes, str], Floats]


PREDICT: Final = Wire(predict_wire.METHOD, predict_wire.request_bytes, predict_wire.output_of)
INFER: Final = Wire(infer_wire.METHOD, infer_wire.request_bytes, infer_wire.output_of)


async def ask_and_check(wire: Wire, endpoint: str, request: bytes, expected: Floats) -> bytes:
    """Call once, compare output y, and return the answer's bytes.

    Raises:
        Unanswered: the server does not know the method.
        BenchmarkError: it did not answer as expected.
    """
    try:
        async with aio.insecure_channel(endpoint, options=_ANY_SIZE) as channel:
            call: Call = channel.unary_unary(wire.method)
            answer = await call(request, timeout=_DEADLINE_SECONDS)
    except aio.AioRpcError as error:
        words = f"{wire.method} at {endpoint}: {error.code().name}: {error.details()}"
        unknown = error.code() is grpc.StatusCode.UNIMPLEMENTED
        raise (Unanswered if unknown else BenchmarkError)(words) from error
    found = wire.output_of(answer, "y").ravel()
    if not np.allclose(found, expected):
        raise BenchmarkError(f"{endpoint} answered {found[:8].tolist()!r}")
    return answer
