"""The HTTP server: which paths it has, how it opens and closes."""

from __future__ import annotations

import errno
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from headrace.consumer.core.certificates import Certificates
from headrace.consumer.core.errors import NodeError
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.web.errors import errors_as_json
from headrace.consumer.web.health import Health
from headrace.consumer.web.models import Models
from headrace.consumer.web.tls import client_certificate_required, listening_context


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How the HTTP door listens.

    `port` 0 lets the system choose; `shares_port` lets other nodes have it too.
    """

    host: str = "0.0.0.0"
    port: int = 8501
    shares_port: bool = False
    certificates: Certificates | None = None
    drain_seconds: float = 5.0


class HttpDoor:
    """Answers HTTP requests from entering the `async with` block until leaving it.

    `port` is the one it listens on.

    **Concurrency:** event loop only; use it once.
    """

    def __init__(self, monitor: Monitor, readiness: Readiness, options: HttpOptions) -> None:
        self.port = options.port
        self._options = options
        self._parts = (Health(monitor, readiness), Models(monitor))
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            NodeError: the port is taken or cannot be listened on.
        """
        certificates = self._options.certificates
        guards = (
            [client_certificate_required] if certificates and certificates.files.client_ca else []
        )
        application = web.Application(middlewares=[errors_as_json, *guards])
        for part in self._parts:
            application.add_routes(part.routes())
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=self._options.drain_seconds
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
