"""The HTTP server: which parts it has, how it is bounded, how it opens and closes."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from aiohttp import hdrs, web

from headrace.consumer.core.certificates import Certificates
from headrace.consumer.core.errors import NodeError
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.repository import Repository
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.web.admission import Admission
from headrace.consumer.web.errors import errors_as_json
from headrace.consumer.web.health import Health
from headrace.consumer.web.inference import Inference
from headrace.consumer.web.model_repository import ModelRepository
from headrace.consumer.web.open_inference import OpenInference
from headrace.consumer.web.provenance import Provenance
from headrace.consumer.web.tensorflow_serving import TensorFlowServing
from headrace.consumer.web.tls import client_certificate_required, listening_context
from headrace.consumer.web.transfer import Transfer

# A client that is still sending hears of a refusal only while somebody takes what it sends.
_LINGERING_SECONDS: Final = 1.0
# aiohttp would log every line that is not HTTP, with a traceback.
_SILENT: Final = logging.Logger("aiohttp", logging.CRITICAL + 1)  # noqa: LOG001 - out of reach of any configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How the HTTP door listens, and its bounds.

    `port` 0 lets the system choose; `shares_port` lets other nodes have it too.
    `max_in_flight_bytes` bounds bodies and answers of all requests together.
    `transfer_timeout_seconds` bounds the reading of a body, and the writing of an answer;
    `idle_timeout_seconds` the time from one request of a connection to the next, headers included.
    `drain_seconds` bounds the wait for requests in flight on closing. `cors_origin` are the pages
    whose scripts may read answers; empty for none, `*` for all.
    """

    host: str = "0.0.0.0"
    port: int = 8501
    shares_port: bool = False
    certificates: Certificates | None = None
    node: str = ""
    max_body_bytes: int = 64 * 2**20
    max_in_flight_bytes: int = 128 * 2**20
    max_requests: int = 1024
    default_timeout_seconds: float = 30.0
    transfer_timeout_seconds: float = 30.0
    idle_timeout_seconds: float = 75.0
    drain_seconds: float = 5.0
    cors_origin: str = ""


class HttpDoor:
    """Answers HTTP requests from entering the `async with` block until leaving it.

    `port` is the one it listens on.

    **Concurrency:** event loop only; use it once.
    """

    def __init__(
        self,
        serving_map: ServingMap,
        monitor: Monitor,
        readiness: Readiness,
        options: HttpOptions,
        repository: Repository | None = None,
    ) -> None:
        self.port = options.port
        self._options = options
        self._admission = Admission(options.max_requests, options.max_in_flight_bytes)
        inference = Inference(
            serving_map,
            readiness,
            Provenance(options.node),
            self._admission,
            Transfer(options.max_body_bytes, options.transfer_timeout_seconds),
            default_timeout_seconds=options.default_timeout_seconds,
        )
        self._parts = (
            Health(monitor, readiness),
            TensorFlowServing(inference, monitor),
            OpenInference(inference, monitor),
            ModelRepository(repository, inference),
        )
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            NodeError: the port is taken or cannot be listened on.
        """
        options, certificates = self._options, self._options.certificates
        guards = (
            [client_certificate_required] if certificates and certificates.files.client_ca else []
        )
        application = web.Application(middlewares=[errors_as_json, *guards])
        for part in self._parts:
            application.add_routes(part.routes())
        if options.cors_origin:
            application.on_response_prepare.append(self._allow_origin)
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=_SILENT,
            # A client that hangs up takes its request out of the queue.
            handler_cancellation=True,
            shutdown_timeout=options.drain_seconds,
            keepalive_timeout=options.idle_timeout_seconds,
            lingering_time=_LINGERING_SECONDS,
        )
        async with AsyncExitStack() as opened:
            await runner.setup()
            opened.push_async_callback(runner.cleanup)
            await self._listen(runner)
            self._closing = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Refuse new connections and wait for answers in flight, at most `drain_seconds`."""
        await self._closing.aclose()

    @asynccontextmanager
    async def answering(self) -> AsyncGenerator[None]:
        """Wait at the end of the block for requests in flight, at most `drain_seconds`.

        For the time in which versions can answer; health checks are answered before and after.
        """
        try:
            yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.drain_seconds):
                    await self._admission.wait_idle()

    async def _allow_origin(self, request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG002 - aiohttp's signature
        """Let a browser show an answer to the pages that may see it."""
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = self._options.cors_origin
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "POST, GET"
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Content-Type"

    async def _listen(self, runner: web.AppRunner) -> None:
        host, port, certificates = (
            self._options.host,
            self._options.port,
            self._options.certificates,
        )
        context = listening_context(certificates) if certificates else None
        shares = self._options.shares_port
        try:
            await web.TCPSite(runner, host, port, ssl_context=context, reuse_port=shares).start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise NodeError(
                    f"HTTP port {port} is taken: stop what listens on {host}:{port}, or choose "
                    "another port"
                ) from error
            raise NodeError(
                f"cannot listen for HTTP on {host}:{port}: {error.strerror or error}"
            ) from error
        self.port = runner.addresses[0][1]
