"""The node's settings of how its gRPC and HTTP doors listen, and what they bear of callers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from headrace.consumer.core.certificates import TlsFiles
from headrace.consumer.core.errors import NodeError


class DoorSettings(BaseModel):
    """Unix socket, shared ports, TLS and bounds; the ports themselves are the node's settings."""

    unix_socket: Path | None = Field(
        None, description="socket file that gRPC listens on besides its port"
    )
    share_port: bool = Field(
        False,
        description="let other nodes of this machine that share have the same ports; needs "
        "--node-id",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file of the certificate, with its chain, that gRPC and HTTP show; read "
        "again when it changes (default: no TLS)",
    )
    tls_key: Path | None = Field(
        None, description="PEM file of its key (default: the certificate's file)"
    )
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of the authorities whose certificates callers must have (default: "
        "callers need none)",
    )
    max_connection_calls: Annotated[int, Field(gt=0)] = Field(
        1024, description="gRPC calls of one connection inside at once; more wait at the client"
    )
    max_concurrent_calls: Annotated[int, Field(gt=0)] = Field(
        4096, description="gRPC calls inside at once, before more are refused"
    )
    max_call_bytes: Annotated[int, Field(gt=0)] = Field(
        512 * 2**20,
        description="requests and answers of all gRPC calls inside, before more are refused",
    )
    max_connection_age_seconds: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="age at which a gRPC client has to connect anew; 0 is never",
    )

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of TLS, when it is on.

        Raises:
            NodeError: some are named, but no certificate.
        """
        if self.tls_certificate is not None:
            return TlsFiles(
                certificate=self.tls_certificate,
                key=self.tls_key or self.tls_certificate,
                client_ca=self.tls_client_ca,
            )
        for flag, path in (("--tls-key", self.tls_key), ("--tls-client-ca", self.tls_client_ca)):
            if path is not None:
                raise NodeError(f"{flag} needs --tls-certificate: without one there is no TLS")
        return None
