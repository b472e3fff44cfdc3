"""Verified copies of artefacts on this machine: what a worker loads from.

The asynchronous face of `folders` and `download`: blocking work runs in threads, and a cancelled
call leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final
from weakref import WeakValueDictionary

import structlog

from headrace.consumer.artifacts.download import Store
from headrace.consumer.artifacts.folders import CacheFolders, HeldFolder
from headrace.consumer.core.errors import ArtifactCorrupt, CacheUnwritable, ModelRejected
from headrace.schemas.manifest import MAX_SIZE_BYTES, Manifest

log = structlog.get_logger()

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ABANDON_SECONDS: Final = 5.0
"""How long a cancelled call waits for its thread to notice and to clean up."""


class ArtifactCache:
    """Artefacts by digest: fetched when they are not there, pruned when they are too many.

    **Concurrency:** event loop only; any number of fetches at once. Those of one digest take turns,
    so that the second finds what the first brought. Several nodes may share a root.
    """

    def __init__(
        self, root: Path, max_bytes: int, max_artifact_bytes: int = MAX_SIZE_BYTES
    ) -> None:
        self._max_artifact_bytes = max_artifact_bytes
        self._folders = CacheFolders(root, max_bytes)
        # A lock lives for as long as someone holds it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._held: dict[str, list[HeldFolder]] = {}

    async def fetch(self, uri: str, digest: str, size_bytes: int | None = None) -> Path:
        """Return the folder with an artefact's files, verified, and held until `release`.

        Args:
            uri: the folder in a store that has `manifest.json` and `files/`.
            digest: `sha256:<hex>` of the manifest.
            size_bytes: what the event says of the files together; None: it says nothing.

        Raises:
            ModelRejected: it is larger than this node takes, or the URI is not one to follow.
            ArtifactMissing: it is not in the store, or the store cannot be read now.
            ArtifactCorrupt: what is in the store is not what the digest names.
            LoadError: the cache cannot be written.

        Cancellation: nothing is held; a half-made copy is removed.
        """
        if _DIGEST.fullmatch(digest) is None:
            raise ArtifactCorrupt(
                f"the event's digest is {digest!r:.80}; expected sha256: and 64 hex digits"
            )
        self._check_size(size_bytes or 0, uri)
        turn = self._turns.setdefault(digest, asyncio.Lock())
        async with turn:
            held = await _in_thread(lambda gone: self._obtain(uri, digest, size_bytes, gone))
        self._held.setdefault(digest, []).append(held)
        return held.files

    def release(self, digest: str) -> None:
        """Give back what one `fetch` of this digest held."""
        held = self._held[digest]
        held.pop().release()
        if not held:
            del self._held[digest]

    def _obtain(self, uri: str, digest: str, size_bytes: int | None, gone: Event) -> HeldFolder:
        """Return the folder, from the cache or the store; blocking."""
        try:
            held = self._folders.find(digest, gone)
            if held is not None:
                try:
                    _check_told(held.manifest, size_bytes, uri)
                except ArtifactCorrupt:
                    held.release()
                    raise
                return held
            store = Store(uri)
            manifest = store.manifest(digest)
            _check_told(manifest, size_bytes, uri)
            self._check_size(manifest.size_bytes, uri)
            self._folders.make_room(manifest.size_bytes)
            return self._folders.add(manifest, lambda folder: store.copy(manifest, folder, gone))
        except OSError as error:
            # Errors of the store have become LoadErrors where they were met.
            cause = error.strerror or str(error)
            raise CacheUnwritable(
                f"cannot write the artefact cache {self._folders.root}: {cause}: check that the "
                "folder can be written and has room, or name another one with --cache-dir"
            ) from error

    def _check_size(self, size_bytes: int, uri: str) -> None:
        if size_bytes > self._max_artifact_bytes:
            raise ModelRejected(
                f"the artefact at {uri} has {size_bytes} bytes, and this node takes at most "
                f"{self._max_artifact_bytes}: raise --max-artifact-bytes, or publish a smaller one"
            )


def _check_told(manifest: Manifest, size_bytes: int | None, uri: str) -> None:
    if size_bytes is not None and manifest.size_bytes != size_bytes:
        raise ArtifactCorrupt(
            f"the artefact at {uri} has {manifest.size_bytes} bytes by its manifest, and "
            f"{size_bytes} by the event: publish the version again"
        )


async def _in_thread(work: Callable[[Event], HeldFolder]) -> HeldFolder:
    """Run blocking work in a thread; when cancelled, tell it and wait a while for it to end."""
    gone = Event()
    future = asyncio.get_running_loop().run_in_executor(None, work, gone)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        gone.set()
        # A store that hangs must not hang us, too: the thread cleans up whenever it gets there.
        future.add_done_callback(_release_unwanted)
        await asyncio.wait([future], timeout=_ABANDON_SECONDS)
        raise


def _release_unwanted(future: asyncio.Future[HeldFolder]) -> None:
    """Let go of what a thread brought after nobody wanted it any more."""
    if not future.cancelled() and future.exception() is None:
        future.result().release()
