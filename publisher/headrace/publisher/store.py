"""The artefact store: published models as immutable folders, named by the digest of their bytes.

One artefact is `<store>/sha256-<hex>/`, with `manifest.json` and the files below `files/`. A folder
with a manifest is complete: locally it is renamed into place, elsewhere the manifest comes last.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

import platformdirs

from headrace.publisher.errors import InvalidModel, StoreError
from headrace.publisher.filesystems import FileSystem, is_local, url_to_fs
from headrace.publisher.progress import Tick
from headrace.schemas.manifest import FILES_FOLDER, MANIFEST_NAME, FileEntry, Manifest

_BUFFER_BYTES: Final = 2**20


def default_store() -> str:
    """Return the folder that holds artefacts when no store is named."""
    return str(Path(platformdirs.user_data_dir("headrace")) / "artifacts")


class ArtifactStore:
    """A place for artefacts: a local folder, or a URI of any file system that fsspec knows.

    **Concurrency:** blocking; any number of publishers may put into one store at once, also the
    same artefact.

    Raises:
        StoreError: no file system goes by the URI's scheme.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = uri or default_store()
        try:
            self._fs, self._root = url_to_fs(self.uri)
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(
                f"the artefact store {self.uri!r} cannot be used: {error}: give a folder, or a "
                "URI whose file system is installed (s3:// needs s3fs, gs:// needs gcsfs)"
            ) from error

    def locate(self, digest: str) -> str:
        """Return the absolute URI under which the artefact of that digest lies, once it is put."""
        return self._fs.unstrip_protocol(self._folder(digest))

    def put(self, source: Path, manifest: Manifest, tick: Tick) -> str:
        """Copy the files of `manifest` from `source`, unless they are there, and return the URI.

        Args:
            source: the folder that the manifest was made of.
            manifest: what to copy; each file is hashed again on the way.
            tick: told the bytes copied so far, and their total.

        Raises:
            StoreError: the store cannot be written.
            InvalidModel: a file of `source` is no longer what the manifest says.

        Units: bytes.
        """
        folder = self._folder(manifest.digest)
        total = manifest.size_bytes
        try:
            if self._is_complete(folder, manifest):
                tick(total, total)
            elif is_local(self._fs):
                self._put_local(Path(folder), source, manifest, tick)
            else:
                self._write(folder, source, manifest, tick)
        except OSError as error:
            # Some file systems raise without text or number; then the class is all there is.
            cause = error.strerror or str(error) or type(error).__name__
            raise StoreError(
                f"cannot write to the artefact store {self.uri}: {cause}: check that the folder "
                "can be written and has room, or name another one with --store or HEADRACE_STORE"
            ) from error
        return self.locate(manifest.digest)

    def _folder(self, digest: str) -> str:
        return f"{self._root.rstrip('/')}/{digest.replace(':', '-')}"

    def _is_complete(self, folder: str, manifest: Manifest) -> bool:
        """Return whether the artefact is there: its manifest, and every file in its full size."""
        self._fs.invalidate_cache()
        if not self._fs.exists(f"{folder}/{MANIFEST_NAME}"):
            return False
        if self._fs.cat_file(f"{folder}/{MANIFEST_NAME}") != manifest.to_json():
            return False
        prefix = f"{folder}/{FILES_FOLDER}/"
        there = {
            name.removeprefix(prefix): found["size"]
            for name, found in self._fs.find(prefix.rstrip("/"), detail=True).items()
        }
        return there == {path: entry.size for path, entry in manifest.files.items()}

    def _put_local(self, folder: Path, source: Path, manifest: Manifest, tick: Tick) -> None:
        """Write beside the final place and rename, so that nobody ever sees half an artefact."""
        incoming = folder.with_name(f".incoming-{uuid.uuid4().hex}")
        try:
            self._write(str(incoming), source, manifest, tick)
            with _alone(folder.parent):
                # Another publisher of the same bytes may have been faster.
                if not self._is_complete(str(folder), manifest):
                    broken = incoming.with_name(f"{incoming.name}-broken")
                    with suppress(FileNotFoundError):
                        folder.rename(broken)
                    incoming.rename(folder)
                    shutil.rmtree(broken, ignore_errors=True)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _write(self, folder: str, source: Path, manifest: Manifest, tick: Tick) -> None:
        total, done = manifest.size_bytes, 0
        tick(done, total)
        for path, entry in manifest.files.items():
            target = f"{folder}/{FILES_FOLDER}/{path}"
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            with _source(source / path) as reader, self._fs.open(target, "wb") as writer:
                copied = _Copy(reader, writer, source / path)
                while count := copied.step():
                    done += count
                    tick(min(done, total), total)
                copied.check(entry)
                _flush(self._fs, writer)
        # The manifest is the marker of completeness: last, always.
        with self._fs.open(f"{folder}/{MANIFEST_NAME}", "wb") as writer:
            writer.write(manifest.to_json())
            _flush(self._fs, writer)


class _Copy:
    """One file on its way into the store, hashed as it passes."""

    def __init__(self, reader: FileIO, writer: BinaryIO, path: Path) -> None:
        self._reader = reader
        self._writer = writer
        self._path = path
        self._hashed = hashlib.sha256()
        self._size = 0

    def step(self) -> int:
        """Copy the next piece and return its length, 0 at the end."""
        try:
            piece = self._reader.read(_BUFFER_BYTES)
        except OSError as error:
            raise InvalidModel(f"cannot read {self._path}: {error.strerror or error}") from error
        self._hashed.update(piece)
        self._size += len(piece)
        self._writer.write(piece)
        return len(piece)

    def check(self, entry: FileEntry) -> None:
        """Raise InvalidModel unless what passed is what the manifest lists."""
        if FileEntry(self._size, self._hashed.hexdigest()) != entry:
            raise InvalidModel(
                f"{self._path} changed while it was published: publish a model once it is "
                "completely written"
            )


@contextmanager
def _alone(folder: Path) -> Generator[None, None, None]:
    """Keep other publishers, in this process and in others, from renaming in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _source(path: Path) -> FileIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise InvalidModel(f"cannot read {path}: {error.strerror or error}") from error


def _flush(filesystem: FileSystem, writer: BinaryIO) -> None:
    """Force a local file to the disk: an event must not outlive the artefact that it names."""
    if is_local(filesystem):
        writer.flush()
        os.fsync(writer.fileno())
