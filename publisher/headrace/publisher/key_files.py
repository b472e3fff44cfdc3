"""Private keys in files: what is accepted, and in words what is not."""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.publisher.errors import InvalidKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_KEY_FILE_BYTES: Final = 64 * 2**10


def need_cryptography() -> None:
    """Raise InvalidKey, in words, unless signatures can be made and checked here."""
    if find_spec("cryptography") is None:
        raise InvalidKey("signed events need the signing extra: pip install 'headrace[signing]'")


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Return the key in a PEM file (PKCS8, not encrypted) that nobody else may read.

    Raises:
        InvalidKey: the file is not that, in words, or the extra is not installed.
    """
    need_cryptography()
    return _read_private(_read_secret(file), file)


def write_private_key(file: Path, pem: bytes) -> None:
    """Write a private key to a new file that only its owner may read.

    Raises:
        InvalidKey: the file exists, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(pem)
            opened.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise InvalidKey(
            f"{file} exists, and a key is never overwritten: name another file with --out"
        ) from error
    except OSError as error:
        raise InvalidKey(f"cannot write {file}: {error.strerror or error}") from error


def read_public_key(pem: bytes, file: Path) -> bytes:
    """Return the 32 bytes of a public key in PEM form; raise InvalidKey when it is none."""
    need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"{file} is no public key in PEM form") from error
    if not isinstance(public, Ed25519PublicKey):
        raise InvalidKey(f"{file} is a public key of another kind than Ed25519")
    return public.public_bytes_raw()


def _read_secret(file: Path) -> bytes:
    """Return the bytes of a file that only its owner may read."""
    try:
        # A pipe is not waited for; what was opened is what is judged and read.
        with open(file, "rb", opener=_without_waiting) as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InvalidKey(f"signing key {file} is not a file: give the PEM file of a key")
            if found.st_mode & 0o077:
                raise InvalidKey(
                    f"signing key {file} can be read by others (mode "
                    f"{stat.S_IMODE(found.st_mode):03o}): chmod 600 it, and if others had it, make "
                    "another with 'headrace keys generate'"
                )
            return opened.read(_MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise InvalidKey(
            f"cannot read signing key {file}: {error.strerror or error}: make one with 'headrace "
            "keys generate --out FILE'"
        ) from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read_private(pem: bytes, file: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    if b"PUBLIC KEY-----" in pem:
        raise InvalidKey(f"{file} holds a public key, which cannot sign: give the private key")
    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise InvalidKey(
            f"signing key {file} is encrypted, and nobody is there to ask for its password: give "
            "one that is not, in a file that only its owner may read"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey(
            f"{file} is no private key in PEM form (PKCS8): make one with 'headrace keys generate "
            "--out FILE'"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        kind = type(private).__name__.removesuffix("PrivateKey").lstrip("_")
        raise InvalidKey(
            f"signing key {file} is of kind {kind}, and events are signed with Ed25519: make one "
            "with 'headrace keys generate --out FILE'"
        )
    return private
