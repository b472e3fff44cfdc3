"""The certificate that the doors show, and whom they trust, from files that may change."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from headrace.consumer.core.errors import NodeError

_log = structlog.get_logger()

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. With `client_ca`, whoever calls needs a certificate that it vouches for."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamps(self) -> tuple[_Stamp, ...]:
        """Return what changes when one of the files does.

        Raises:
            OSError: a file is not there.
        """
        paths = (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))
        seen = [path.stat() for path in paths]
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the files held at one time: as PEM, and as a context for servers of `ssl`."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext


class Certificates:
    """The identity in force, which `watch` renews when the files change.

    A renewal holds for new connections; those that are open keep what they began with. Files that
    cannot be used change nothing: the last good identity stays.

    **Concurrency:** `identity` from any thread; the rest on the event loop.
    """

    def __init__(self, files: TlsFiles, *, check_seconds: float = 1.0) -> None:
        self.files = files
        self._check_seconds = check_seconds
        self._stamps: tuple[_Stamp, ...] = ()
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """The identity in force."""
        if self._identity is None:
            raise RuntimeError("certificates have to be loaded before they are used")
        return self._identity

    def load(self) -> None:
        """Read the files.

        Raises:
            NodeError: a file cannot be read, or the files do not fit together.
        """
        try:
            # Before reading: what changes meanwhile is read again at the next check.
            self._stamps = self.files.stamps()
        except OSError as error:
            raise NodeError(
                f"cannot read the TLS file {error.filename}: {error.strerror}"
            ) from error
        self._identity = _read(self.files)

    async def watch(self) -> None:
        """Follow the files until cancelled."""
        while True:
            await asyncio.sleep(self._check_seconds)
            stamps = await asyncio.to_thread(self._stamps_now)
            if stamps == self._stamps:
                continue
            self._stamps = stamps
            try:
                self._identity = await asyncio.to_thread(_read, self.files)
            except NodeError as error:
                _log.warning("certificate.refused", reason=str(error))
            else:
                _log.info("certificate.renewed", certificate=str(self.files.certificate))

    def _stamps_now(self) -> tuple[_Stamp, ...]:
        try:
            return self.files.stamps()
        except OSError:
            return ()


def _read(files: TlsFiles) -> Identity:
    """Read all files.

    Raises:
        NodeError: a file cannot be read, or the files do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would carry on with a client certificate that is not trusted any more.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    certificate, key = _bytes(files.certificate, "certificate"), _bytes(files.key, "key")
    try:
        # Without any password, OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except ssl.SSLError as error:
        raise NodeError(_unusable(files, error)) from error
    client_ca = None
    if files.client_ca is not None:
        client_ca = _bytes(files.client_ca, "client_ca")
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise NodeError(
                f"--tls-client-ca: {files.client_ca} holds no certificate in PEM form"
            ) from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return Identity(certificate=certificate, key=key, client_ca=client_ca, context=context)


def _bytes(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        flag = f"--tls-{setting.replace('_', '-')}"
        raise NodeError(f"{flag}: cannot read {path}: {error.strerror or error}") from error


_MISMATCH: Final = "KEY_VALUES_MISMATCH"


def _unusable(files: TlsFiles, error: ssl.SSLError) -> str:
    if error.reason == _MISMATCH:
        return (
            f"--tls-key: {files.key} is not the key of --tls-certificate {files.certificate}; give "
            "the two that belong together"
        )
    return (
        f"--tls-certificate: {files.certificate} with --tls-key {files.key} cannot be used "
        f"({error.reason or error}); give a certificate chain and an unencrypted key, in PEM form"
    )
