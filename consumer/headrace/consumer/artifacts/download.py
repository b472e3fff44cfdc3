"""An artefact in a store: read its manifest, and copy its files while hashing them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from headrace.consumer.artifacts.folders import Abandoned
from headrace.consumer.artifacts.local_files import open_inside
from headrace.consumer.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    HeadraceError,
    ModelRejected,
)
from headrace.publisher.filesystems import is_local, url_to_fs
from headrace.schemas.errors import WireError
from headrace.schemas.manifest import (
    FILES_FOLDER,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
)

SCHEMES: Final = frozenset(
    {
        *("file", "local", "memory", "sftp", "http", "https", "hdfs", "webhdfs"),
        *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"),
    }
)
"""Stores of files. fsspec knows more, some of which run or unpack what they are pointed at."""

_PIECE_BYTES: Final = 2**20


class Store:
    """The folder in a store that an event's URI names.

    **Concurrency:** blocking; one thread at a time.

    Raises:
        ModelRejected: the URI is not one that a node follows.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        scheme, separator, _rest = uri.partition("://")
        if "::" in uri or (scheme not in SCHEMES if separator else not uri.startswith("/")):
            raise ModelRejected(
                f"the artefact's URI {uri!r:.200} is not one that a node follows: expected an "
                f"absolute path, or one of {', '.join(sorted(SCHEMES))} followed by ://"
            )
        try:
            self._files, self._root = url_to_fs(uri)
        except (ImportError, ValueError, OSError) as error:
            raise ModelRejected(
                f"the artefact's URI {uri!r:.200} cannot be used on this node: {error}"
            ) from error

    def manifest(self, digest: str) -> Manifest:
        """Return the artefact's manifest.

        Raises:
            ArtifactMissing: there is none, or the store cannot be read.
            ArtifactCorrupt: it is not the one that the digest names.
        """
        with self._reading(MANIFEST_NAME):
            self._files.invalidate_cache()
            with self._open(MANIFEST_NAME) as file:
                data = file.read(MAX_MANIFEST_BYTES + 1)
        try:
            manifest = Manifest.from_json(data)
        except WireError as error:
            raise ArtifactCorrupt(f"{MANIFEST_NAME} of {self._uri}: {error}") from error
        if manifest.digest != digest:
            raise ArtifactCorrupt(
                f"the artefact at {self._uri} has digest {manifest.digest}; the event says "
                f"{digest}: publish the version again"
            )
        return manifest

    def copy(self, manifest: Manifest, folder: Path, gone: Event) -> None:
        """Copy every file of the manifest into a folder, flushed to the disk.

        Raises:
            ArtifactMissing: a file is not there, or the store cannot be read.
            ArtifactCorrupt: a file is not what the manifest says.
            OSError: the folder cannot be written.
            Abandoned: `gone` was set meanwhile.
        """
        for path, entry in manifest.files.items():
            target = folder / path
            # The manifest has checked its paths; this is what would break if it had not.
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ArtifactCorrupt(f"{path!r} of {self._uri} leads out of the artefact")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._copy_file(path, entry, target, gone)

    def _copy_file(self, path: str, entry: FileEntry, target: Path, gone: Event) -> None:
        hashed, size = hashlib.sha256(), 0
        with target.open("xb") as writer:
            for piece in self._pieces(path):
                if gone.is_set():
                    raise Abandoned
                size += len(piece)
                if size > entry.size:
                    break  # More than was promised: no reason to fill the disk with it.
                hashed.update(piece)
                writer.write(piece)
            writer.flush()
            os.fsync(writer.fileno())
        if FileEntry(size, hashed.hexdigest()) != entry:
            raise ArtifactCorrupt(
                f"{path!r} of {self._uri} is not the file that was published: expected "
                f"{entry.size} bytes with sha256 {entry.sha256}; publish the version again"
            )

    def _pieces(self, path: str) -> Generator[bytes]:
        with self._reading(path):
            file = self._open(f"{FILES_FOLDER}/{path}")
        with file:
            while True:
                with self._reading(path):
                    piece = file.read(_PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def _open(self, path: str) -> BinaryIO:
        if is_local(self._files):
            return open_inside(self._root, path)
        return self._files.open(f"{self._root}/{path}", "rb")

    @contextmanager
    def _reading(self, path: str) -> Generator[None]:
        """Say in words what goes wrong while the store is read."""
        try:
            yield
        except HeadraceError:
            raise
        except FileNotFoundError as error:
            raise ArtifactMissing(f"there is no {path} at {self._uri}") from error
        except Exception as error:  # door: each store has error classes of its own
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ArtifactMissing(f"cannot read {path} at {self._uri}: {cause}") from error
