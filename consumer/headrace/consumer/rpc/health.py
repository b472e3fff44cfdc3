"""The gRPC health checking protocol, following the node's readiness.

grpcio's own servicer never ends a Watch, and a server that stops gracefully waits for every open
call: one watching client would hold up each shutdown for the whole grace period.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import grpc
from grpc.aio import ServicerContext
from grpc_health.v1.health_pb2 import (  # type: ignore[import-untyped]
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from headrace.consumer.core.readiness import Readiness

HEALTH_SERVICE: Final = "grpc.health.v1.Health"

_SERVING: Final = HealthCheckResponse(status=HealthCheckResponse.SERVING)
_NOT_SERVING: Final = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
_UNKNOWN: Final = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)

_CheckContext = ServicerContext[HealthCheckRequest, HealthCheckResponse]
_ListContext = ServicerContext[HealthListRequest, HealthListResponse]


class Health:
    """SERVING for "" and for each named service while the node is ready, else NOT_SERVING.

    **Concurrency:** event loop only; any number of watchers.

    Source: grpc/doc/health-checking.md.
    """

    def __init__(self, readiness: Readiness, services: Sequence[str]) -> None:
        self._services = ("", *services)
        self._is_ready = False
        self._is_closed = False
        self._changed = asyncio.Event()
        readiness.observe(self._turn)

    def close(self) -> None:
        """Be NOT_SERVING for good, and end every watch after saying so."""
        self._is_closed = True
        self._wake_watchers()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service for a server."""
        return grpc.method_handlers_generic_handler(
            HEALTH_SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    self._check,
                    HealthCheckRequest.FromString,
                    HealthCheckResponse.SerializeToString,
                ),
                "List": grpc.unary_unary_rpc_method_handler(
                    self._list,
                    HealthListRequest.FromString,
                    HealthListResponse.SerializeToString,
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    self._watch,
                    HealthCheckRequest.FromString,
                    HealthCheckResponse.SerializeToString,
                ),
            },
        )

    def _turn(self, is_ready: bool) -> None:
        self._is_ready = is_ready
        self._wake_watchers()

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _status(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self._is_ready and not self._is_closed else _NOT_SERVING

    async def _check(
        self, request: HealthCheckRequest, context: _CheckContext
    ) -> HealthCheckResponse:
        status = self._status(request.service)
        if status is _UNKNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} is served here"
            )
        return status

    async def _list(self, request: HealthListRequest, context: _ListContext) -> HealthListResponse:  # noqa: ARG002
        return HealthListResponse(
            statuses={service: self._status(service) for service in self._services}
        )

    async def _watch(
        self,
        request: HealthCheckRequest,
        context: _CheckContext,  # noqa: ARG002
    ) -> AsyncGenerator[HealthCheckResponse, None]:
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status is not told:
                yield status
                told = status
                continue  # The status may have turned while it was being sent.
            if self._is_closed:
                return
            await changed.wait()
