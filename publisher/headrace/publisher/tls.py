"""TLS contexts for Kafka clients, from PEM files that may be renewed at any time."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from headrace.publisher.errors import InvalidSecurity


def client_context(
    ca: Path | None, certificate: Path | None, key: Path | None, key_password: str
) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate and name.

    It is the same one as long as the files are: a node opens a client for each partition, and
    reading the system's authorities takes 20 ms.

    Raises:
        InvalidSecurity: a file cannot be read, or does not hold what it should.
    """
    stamps: list[tuple[int, ...]] = []
    for name, path in (("ca", ca), ("certificate", certificate), ("key", key)):
        if path is None:
            continue
        try:
            path.open("rb").close()
            state = path.stat()
        except OSError as error:
            raise InvalidSecurity(f"ssl_{name}_file {path} cannot be read: {error}") from error
        stamps.append((state.st_ino, state.st_size, state.st_mtime_ns))
    return _read(ca, certificate, key, key_password, tuple(stamps))


@lru_cache(maxsize=8)
def _read(
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    key_password: str,
    _stamps: tuple[tuple[int, ...], ...],
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise InvalidSecurity(f"ssl_ca_file {ca} holds no authority in PEM: {error}") from error
    if certificate is None:
        return context
    try:
        # Always a password, or OpenSSL asks on the terminal for that of a locked key.
        context.load_cert_chain(certificate, key, password=lambda: key_password)
    except (OSError, ValueError) as error:
        raise InvalidSecurity(
            f"ssl_certificate_file {certificate} and its key (in {key or certificate}) cannot be "
            f"used, as PEM with ssl_key_password {'set' if key_password else 'not set'}: {error}"
        ) from error
    return context
