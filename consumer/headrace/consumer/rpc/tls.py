"""The node's certificates as gRPC's credentials."""

from __future__ import annotations

from typing import cast

import grpc

from headrace.consumer.core.certificates import Certificates, Identity


def credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Return credentials that show each new connection the identity then in force.

    With a client authority, callers without a certificate are refused in the handshake.
    """
    shown = certificates.identity

    def renewed() -> grpc.ServerCertificateConfiguration:
        """Return what has changed; gRPC asks before each handshake, in a thread of its own."""
        nonlocal shown
        identity = certificates.identity
        if identity is shown:
            # No change, to gRPC; its type does not know of it.
            return cast("grpc.ServerCertificateConfiguration", None)
        shown = identity
        return _configuration(identity)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        renewed,
        require_client_authentication=shown.client_ca is not None,
    )


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.certificate)], root_certificates=identity.client_ca
    )
