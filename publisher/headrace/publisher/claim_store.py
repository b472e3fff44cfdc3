"""Where requests go that are too large for their topic: payloads named by their digest.

Writes only. A payload is `<store>/sha256-<hex>`; what became of it once it is answered is up to
the store's own rules of expiry.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from headrace.publisher.errors import StoreError
from headrace.publisher.filesystems import is_local, url_to_fs
from headrace.schemas.claims import Claim

_AT_ONCE: Final = 4


class ClaimStore:
    """A place for large payloads: a folder, or a URI of any file system that fsspec knows.

    **Concurrency:** one event loop, any number of callers; at most four payloads are written at
    once, in threads. Any number of clients may share a store.

    Raises:
        StoreError: no file system goes by the URI's scheme, or it does not fit into a claim.
    """

    def __init__(self, uri: str) -> None:
        # A claim names the store as the nodes' setting does, so that they can compare the two.
        self.uri = uri.rstrip("/") if "://" in uri else f"file://{Path(uri).absolute()}"
        try:
            self._claim("sha256:" + "0" * 64, 1)
            self._fs, root = url_to_fs(self.uri)
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(
                f"the claim store {uri!r} cannot be used: {error}: give a folder, or a URI whose "
                "file system is installed (s3:// needs s3fs, gs:// needs gcsfs)"
            ) from error
        self._root = root.rstrip("/")
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def put(self, payload: bytes) -> Claim:
        """Write a payload, whole or not at all, and return the claim on it.

        Raises:
            StoreError: the store cannot be written.

        Cancellation: the payload may still be written; nobody has a claim on it then.
        """
        async with self._turns:
            digest = await asyncio.to_thread(self._put, payload)
        return self._claim(digest, len(payload))

    def _claim(self, digest: str, size_bytes: int) -> Claim:
        uri = f"{self.uri}/{digest.replace(':', '-')}"
        return Claim(uri=uri, digest=digest, size_bytes=size_bytes)

    def _put(self, payload: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(payload).hexdigest()}"
        path = f"{self._root}/{digest.replace(':', '-')}"
        try:
            self._fs.makedirs(self._root, exist_ok=True)
            # Also what is there already: its age begins anew, so that it does not expire.
            if is_local(self._fs):
                _put_local(Path(path), payload)
            else:
                with self._fs.open(path, "wb") as writer:
                    writer.write(payload)
        except Exception as error:  # door: each store has error classes of its own
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise StoreError(
                f"cannot write to the claim store {self.uri}: {cause}: check that it can be "
                "written and has room, or name another one"
            ) from error
        return digest


def _put_local(path: Path, payload: bytes) -> None:
    """Write beside the final place and rename, so that nobody ever reads half a payload."""
    incoming = path.with_name(f".incoming-{uuid.uuid4().hex}")
    try:
        with incoming.open("xb") as writer:
            writer.write(payload)
            writer.flush()
            # The request must not outlive the payload that it names.
            os.fsync(writer.fileno())
        incoming.replace(path)
        _flush_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            incoming.unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
