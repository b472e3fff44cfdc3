"""Signatures of control events: Ed25519, detached, in four headers of the record.

Owns what is signed, byte for byte, and the key that signs. Who is trusted is the business of
`trusted_keys`; in what order signed events may follow each other, that of `gate`.

Needs the extra `headrace[signing]`; the module itself can be imported without.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from headrace.publisher.key_files import need_cryptography, read_private_key
from headrace.schemas.topics import EventHeader

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Invariant: whatever else is signed with the same key begins otherwise.
_CONTEXT: Final = b"headrace control event 1\x00"
MAX_GENERATION: Final = 2**63 - 1
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_KEY_ID: Final = re.compile(rb"[0-9a-f]{16}")
_SIGNATURE_BYTES: Final = 64
_NAMES: Final = frozenset(
    {
        EventHeader.KEY_ID,
        EventHeader.GENERATION,
        EventHeader.NOT_AFTER_MS,
        EventHeader.SIGNATURE,
    }
)

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Seal:
    """What the headers of a signed record say; nothing of it is true until it is verified.

    Units: `not_after_ms` is epoch milliseconds of the log's clock.
    """

    key_id: str
    generation: int
    not_after_ms: int
    signature: bytes

    def message(self, key: bytes, value: bytes | None) -> bytes:
        """Return the bytes that the signature is over."""
        return _message(key, value, self.key_id, self.generation, self.not_after_ms)


def read_seal(headers: Iterable[tuple[str, bytes | None]]) -> Seal | None:
    """Return what the headers say of a signature; None when they say nothing.

    Raises:
        ValueError: they say it in a form that no signer writes, in words.
    """
    found: dict[str, bytes] = {}
    for name, value in headers:
        if name not in _NAMES:
            continue
        if name in found:
            raise ValueError(f"header {name!r} is there twice")
        found[name] = value or b""
    if not found:
        return None
    missing = sorted(_NAMES - found.keys())
    if missing:
        raise ValueError(f"header {', '.join(map(repr, missing))} is missing")
    return _seal(found)


def _seal(found: Mapping[str, bytes]) -> Seal:
    key_id = found[EventHeader.KEY_ID]
    if _KEY_ID.fullmatch(key_id) is None:
        raise ValueError(f"key id {ascii(key_id)[:60]} is not 16 hex digits")
    generation = _number(EventHeader.GENERATION, found[EventHeader.GENERATION])
    if generation == 0:
        raise ValueError("generation 0 is not allowed: they begin with 1")
    try:
        signature = base64.b64decode(found[EventHeader.SIGNATURE], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the signature is not base64: {error}") from error
    if len(signature) != _SIGNATURE_BYTES:
        raise ValueError(f"the signature has {len(signature)} bytes, not {_SIGNATURE_BYTES}")
    not_after_ms = _number(EventHeader.NOT_AFTER_MS, found[EventHeader.NOT_AFTER_MS])
    return Seal(key_id.decode(), generation, not_after_ms, signature)


def _number(name: str, text: bytes) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_GENERATION:
        raise ValueError(f"header {name!r} is {ascii(text)[:60]}, not a number")
    return int(text)


def _message(
    key: bytes, value: bytes | None, key_id: str, generation: int, not_after_ms: int
) -> bytes:
    """Return the signed bytes: each part has a fixed or a told length, so that none can shift."""
    told = b"\x00" if value is None else b"\x01" + len(value).to_bytes(8, "big") + value
    return b"".join(
        (
            _CONTEXT,
            key_id.encode(),
            generation.to_bytes(8, "big"),
            not_after_ms.to_bytes(8, "big"),
            len(key).to_bytes(8, "big"),
            key,
            told,
        )
    )


def key_id_of(public: bytes) -> str:
    """Return the short name by which headers and messages call a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


class SigningKey:
    """An Ed25519 key that signs control events.

    **Concurrency:** immutable; share it freely.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Take a key as `load` and `generate` make it."""
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.id = key_id_of(self.public)

    @classmethod
    def generate(cls) -> Self:
        """Return a new key.

        Raises:
            InvalidKey: the extra for signing is not installed.
        """
        need_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - an extra
            Ed25519PrivateKey,
        )

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the key in a PEM file (PKCS8, not encrypted) that nobody else may read.

        Raises:
            InvalidKey: the file is not that, in words, or the extra is not installed.
        """
        return cls(read_private_key(Path(path).expanduser()))

    def to_pem(self) -> bytes:
        """Return the private key as `load` reads it."""
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - an extra
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(
        self, key: bytes, value: bytes | None, *, generation: int, not_after_ms: int
    ) -> list[tuple[str, bytes]]:
        """Return the headers that make a record of key and value (None: a tombstone) ours."""
        message = _message(key, value, self.id, generation, not_after_ms)
        return [
            (EventHeader.KEY_ID, self.id.encode()),
            (EventHeader.GENERATION, str(generation).encode()),
            (EventHeader.NOT_AFTER_MS, str(not_after_ms).encode()),
            (EventHeader.SIGNATURE, base64.b64encode(self._private.sign(message))),
        ]
