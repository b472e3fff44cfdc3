"""The cache on disk: one folder an artefact, `<root>/sha256-<hex>`, laid out as in a store.

A folder gets its name by a rename, after every byte was hashed and flushed; what is there is hashed
again before every load. Folders in use are locked (flock), so that several nodes may share a root
and one that was killed leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

import structlog

from headrace.schemas.errors import WireError
from headrace.schemas.manifest import FILES_FOLDER, MANIFEST_NAME, Manifest, scan

log = structlog.get_logger()

_ENTRY: Final = "sha256-"
_INCOMING: Final = ".incoming-"
_DISCARDED: Final = ".discarded-"
_LOCK: Final = ".lock"


class Abandoned(Exception):
    """Nobody waits for the work any more."""


class HeldFolder:
    """An artefact's folder that nobody prunes until it is released.

    **Concurrency:** thread-safe; release it once.
    """

    def __init__(self, folder: Path, manifest: Manifest, descriptor: int) -> None:
        self.files = folder / FILES_FOLDER
        self.manifest = manifest
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)


class CacheFolders:
    """The folders of one cache.

    **Concurrency:** blocking, thread-safe, and safe beside other processes.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        self._max_bytes = max_bytes

    def find(self, digest: str, gone: Event) -> HeldFolder | None:
        """Return the folder of an artefact if it is here and intact. A corrupt one is removed.

        Raises:
            OSError: the cache cannot be used.
            Abandoned: `gone` was set meanwhile.
        """
        folder = self.root / digest.replace(":", "-")
        descriptor = _locked(folder, fcntl.LOCK_SH)
        if descriptor is None:
            return None
        try:
            manifest = _intact(folder, digest, gone)
            if manifest is not None:
                os.utime(folder)  # The order of use is the order of pruning.
                return HeldFolder(folder, manifest, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        log.warning("artifact.cache_discarded", folder=str(folder), digest=digest)
        self._discard(folder)
        return None

    def add(self, manifest: Manifest, copy: Callable[[Path], None]) -> HeldFolder:
        """Make the folder of an artefact; `copy` fills a private one, verifying every byte.

        Raises:
            OSError: the cache cannot be written. What `copy` raises passes through. Either way
                nothing is left behind.
        """
        folder = self.root / manifest.digest.replace(":", "-")
        incoming, descriptor = self._incoming()
        try:
            (incoming / FILES_FOLDER).mkdir()
            copy(incoming / FILES_FOLDER)
            _write(incoming / MANIFEST_NAME, manifest.to_json())
            _flush_folders(incoming)
            if not _renamed(incoming, folder):
                # Another node was faster with the same bytes, or left a broken folder there.
                self._discard(folder)
                incoming.rename(folder)
            _flush_folder(self.root)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        return HeldFolder(folder, manifest, descriptor)

    def make_room(self, size_bytes: int) -> None:
        """Remove the folders used longest ago, until `size_bytes` more fit or all are in use.

        Also removes what processes that were killed have left half-made.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            for pattern in (_INCOMING, _DISCARDED):
                for left in self.root.glob(f"{pattern}*"):
                    self._remove_unlocked(left)
        entries = [(_modified(e), _size(e), e) for e in self.root.glob(f"{_ENTRY}*")]
        total = sum(size for _time, size, _folder in entries)
        for _time, size, folder in sorted(entries):
            if total + size_bytes <= self._max_bytes:
                return
            if self._remove_unlocked(folder):
                log.info("artifact.pruned", folder=str(folder), size_bytes=size)
                total -= size

    def _incoming(self) -> tuple[Path, int]:
        """Make a private folder, locked so that nobody takes it for left-overs."""
        folder = self.root / f"{_INCOMING}{uuid.uuid4().hex}"
        with self._alone():
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return folder, descriptor

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep others from looking for left-overs while a folder is made, and the reverse."""
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _remove_unlocked(self, folder: Path) -> bool:
        """Remove a folder unless it is in use; return whether it is gone."""
        descriptor = _locked(folder, fcntl.LOCK_EX)
        if descriptor is None:
            return False
        try:
            self._discard(folder)
        finally:
            os.close(descriptor)
        return True

    def _discard(self, folder: Path) -> None:
        """Remove a folder; it loses its name first, so that nobody sees half of it."""
        doomed = self.root / f"{_DISCARDED}{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _locked(folder: Path, kind: int) -> int | None:
    """Return a descriptor that locks the folder, or None when it is gone or locked otherwise."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        # It may have been renamed away between opening and locking.
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _intact(folder: Path, digest: str, gone: Event) -> Manifest | None:
    """Return the manifest when the folder holds the artefact of this digest, to the last byte."""

    def look_up(_hashed_bytes: int) -> None:
        if gone.is_set():
            raise Abandoned

    try:
        manifest = Manifest.from_json((folder / MANIFEST_NAME).read_bytes())
        is_intact = (
            _is_private(folder)
            and manifest.digest == digest
            and scan(folder / FILES_FOLDER, look_up) == manifest
        )
    except (OSError, WireError, ValueError):
        return None
    return manifest if is_intact else None


def _is_private(folder: Path) -> bool:
    """Whether nobody but us can change what is in the folder once it was looked over."""
    found = folder.stat(follow_symlinks=False)
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _renamed(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folders(root: Path) -> None:
    """Force the names in a folder and below it to the disk; the files have flushed themselves."""
    for folder, _folders, _files in os.walk(root, topdown=False):
        _flush_folder(Path(folder))


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
