"""TLS of the HTTP door: the context that it listens with, and who needs a certificate."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from headrace.consumer.core.certificates import Certificates
from headrace.consumer.web.errors import refusal

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})


def listening_context(certificates: Certificates) -> ssl.SSLContext:
    """Return a context that gives each new connection the identity then in force."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = certificates.identity.context.verify_mode
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0

    def choose(connection: ssl.SSLObject, name: str | None, asked: ssl.SSLContext) -> None:  # noqa: ARG001
        connection.context = certificates.identity.context

    # Called for every handshake, also of clients that name no host.
    context.sni_callback = choose
    return context


@web.middleware
async def client_certificate_required(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse callers without a certificate, except for the questions of an orchestrator.

    A certificate that nobody vouches for does not come this far: it fails the handshake.
    """
    transport = request.transport
    if request.path in OPEN_PATHS or (transport and transport.get_extra_info("peercert")):
        return await handler(request)
    return refusal(HTTPStatus.FORBIDDEN, "a client certificate is required here")
