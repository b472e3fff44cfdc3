"""The stores that claimed payloads may lie in, and how a payload is read from one.

What a claim says is never followed by itself: it only chooses a name inside a store that the node's
operator named. Blocking; knows no claim's bytes and no deadline.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterable
from contextlib import closing
from threading import Event, Lock
from typing import BinaryIO, Final

from headrace.consumer.artifacts.download import SCHEMES
from headrace.consumer.core.errors import (
    HeadraceError,
    NodeError,
    PayloadCorrupt,
    PayloadMissing,
    PayloadUnreachable,
)
from headrace.publisher.filesystems import FileSystem, url_to_fs
from headrace.schemas.claims import Claim

_PIECE_BYTES: Final = 2**20
# No percent signs, query or dots that some store might take for a way out, and no wildcards.
_STEP: Final = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._=+@-]+"
_NAME: Final = re.compile(rf"{_STEP}(?:/{_STEP})*")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking: opening a named pipe would otherwise wait for somebody who writes to it.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What the system says of a link that was not to be followed.
_LINKS: Final = frozenset({errno.ELOOP, errno.ENOTDIR})


class Abandoned(Exception):
    """Nobody waits for the payload any more."""


class PayloadStore:
    """One allowed place: a folder of this machine, or a URI of a store that fsspec knows.

    **Concurrency:** thread-safe.

    Raises:
        NodeError: it is neither.
    """

    def __init__(self, uri: str) -> None:
        scheme, separator, rest = uri.partition("://")
        self.is_local = uri.startswith("/") or scheme in {"file", "local"}
        known = scheme in SCHEMES if separator else self.is_local
        if not known or "::" in uri or (self.is_local and separator and not rest.startswith("/")):
            raise NodeError(
                f"claim_stores names {uri!r:.200}: expected an absolute folder, or one of "
                f"{', '.join(sorted(SCHEMES))} followed by ://, separated by commas"
            )
        self.prefix = f"{_plain(uri).rstrip('/')}/"
        self._opening = Lock()
        self._remote: tuple[FileSystem, str] | None = None

    def name(self, uri: str) -> str | None:
        """Return the name inside this store that a claim's URI means, None when it means none."""
        plain = _plain(uri)
        if not plain.startswith(self.prefix):
            return None
        name = plain.removeprefix(self.prefix)
        return name if _NAME.fullmatch(name) else None

    def read(self, name: str, claim: Claim, gone: Event) -> bytes:
        """Return a payload, verified.

        Args:
            name: what `name` returned.
            claim: how large it is, and its digest.
            gone: set when nobody waits any more.

        Raises:
            PayloadMissing: there is no such file.
            PayloadCorrupt: it has another size or digest.
            PayloadUnreachable: the store cannot be read.
            Abandoned: `gone` was set meanwhile.
        """
        try:
            with closing(self._open(name)) as file:
                payload = _read(file, claim, gone)
        except (HeadraceError, Abandoned):
            raise
        except FileNotFoundError as error:
            raise PayloadMissing(f"there is no payload at {claim.uri:.300}") from error
        except Exception as error:  # door: each store has error classes of its own
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise PayloadUnreachable(
                f"cannot read the payload at {claim.uri:.300}: {cause}"
            ) from error
        found = f"sha256:{hashlib.sha256(payload).hexdigest()}"
        if found != claim.digest:
            raise PayloadCorrupt(
                f"the payload at {claim.uri:.300} has digest {found}; the request claims "
                f"{claim.digest}"
            )
        return payload

    def _open(self, name: str) -> BinaryIO:
        if self.is_local:
            return _open_inside(self.prefix, name)
        with self._opening:
            # Opened when first used: that may ask a server for credentials.
            if self._remote is None:
                self._remote = url_to_fs(self.prefix.rstrip("/"))
        files, root = self._remote
        return files.open(f"{root.rstrip('/')}/{name}", "rb")


def _plain(uri: str) -> str:
    """Return the path of a local URI, any other as it is."""
    scheme, separator, rest = uri.partition("://")
    return rest if separator and scheme in {"file", "local"} else uri


def _open_inside(root: str, name: str) -> BinaryIO:
    """Open a file below a folder, following no link on the way down.

    One step at a time, each from the folder that was opened before: nobody who may write to the
    store can lead the node out of it, not even by swapping folders for links meanwhile.
    """
    *folders, last = name.split("/")
    try:
        folder = os.open(root, _FOLDER)
    except OSError as error:
        raise PayloadUnreachable(
            f"cannot read the claim store {root}: {error.strerror or error}"
        ) from error
    try:
        for step in folders:
            below = os.open(step, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        descriptor = os.open(last, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in _LINKS:
            raise FileNotFoundError(f"{name} leads over a link") from error
        raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{name} is no file")
    return io.FileIO(descriptor, "rb")


def _read(file: BinaryIO, claim: Claim, gone: Event) -> bytes:
    """Return what a file holds; never more than one piece beyond what was claimed is in memory."""
    gathered, size = io.BytesIO(), 0
    while piece := file.read(_PIECE_BYTES):
        if gone.is_set():
            raise Abandoned
        size += len(piece)
        if size > claim.size_bytes:
            break
        gathered.write(piece)
    if size != claim.size_bytes:
        found = f"more than {claim.size_bytes}" if size > claim.size_bytes else f"{size}"
        raise PayloadCorrupt(
            f"the payload at {claim.uri:.300} has {found} bytes; the request claims "
            f"{claim.size_bytes}"
        )
    return gathered.getvalue()


def payload_stores(uris: Iterable[str]) -> tuple[PayloadStore, ...]:
    """Return the stores that a setting names; raises NodeError."""
    return tuple(PayloadStore(uri.strip()) for uri in uris if uri.strip())
