"""The list of an artefact's files, and the digest that names the artefact.

A version's event carries `digest`, the hash of this list in canonical form; the list carries the
hash of each file. So whoever has the event can tell whether the files are the ones published.
`scan` makes the list of a folder; moving artefacts about is done elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, cast

from headrace.schemas.errors import TooLarge, Undecodable

MANIFEST_NAME: Final = "manifest.json"
"""The name of the manifest in an artefact's folder."""
FILES_FOLDER: Final = "files"
"""The name of the folder beside the manifest that holds the files that it lists."""

MAX_FILES: Final = 100_000
MAX_MANIFEST_BYTES: Final = 32 * 2**20
MAX_PATH_BYTES: Final = 1024
MAX_SIZE_BYTES: Final = 2**63 - 1

_FORMAT: Final = "headrace.manifest/1"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CONTROL_OR_BACKSLASH: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_BUFFER_BYTES: Final = 2**20


class FileEntry(NamedTuple):
    """One file: its size and the hexadecimal SHA-256 of its bytes."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of one artefact by relative POSIX path.

    **Concurrency:** immutable; share it freely.

    Raises:
        ValueError: a path, size or hash is not allowed, or there are no files or too many.
    """

    files: Mapping[str, FileEntry]

    def __post_init__(self) -> None:
        """Check every entry, so that a manifest that exists is one that can be used."""
        if not self.files:
            raise ValueError("the artefact has no files")
        if len(self.files) > MAX_FILES:
            raise ValueError(f"the artefact has {len(self.files)} files; at most {MAX_FILES}")
        for path, entry in self.files.items():
            check_path(path)
            _check_entry(path, entry)
        _check_no_file_is_a_folder(self.files)
        if self.size_bytes > MAX_SIZE_BYTES:
            raise ValueError(f"the files have {self.size_bytes} bytes; at most {MAX_SIZE_BYTES}")

    @cached_property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(entry.size for entry in self.files.values())

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the hash of `to_json()`, which is what `sha256sum` says of the file."""
        return f"sha256:{hashlib.sha256(self.to_json()).hexdigest()}"

    def to_json(self) -> bytes:
        """Return the canonical JSON: sorted by code point, no spaces, UTF-8 unescaped."""
        value = {
            "files": {
                path: {"sha256": entry.sha256, "size": entry.size}
                for path, entry in self.files.items()
            },
            "format": _FORMAT,
        }
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Return the manifest that canonical JSON holds.

        Raises:
            TooLarge: there are more bytes than a manifest may have.
            Undecodable: it is not a manifest, not in canonical form, or lists what is not allowed.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise TooLarge(f"manifest of {len(data)} bytes; at most {MAX_MANIFEST_BYTES}")
        try:
            manifest = cls(_entries(json.loads(data)))
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"not an artefact manifest: {error}") from error
        if manifest.to_json() != data:
            # Two spellings of one list would be two digests of one artefact. This also catches
            # what the JSON parser forgives, such as a path that stands there twice.
            raise Undecodable("the manifest is not in canonical form (sorted, no spaces, UTF-8)")
        return manifest


def _entries(value: object) -> dict[str, FileEntry]:
    """Return the files of a parsed manifest; ValueError when it has another form."""
    manifest = _members(value, "a manifest", {"files", "format"})
    if manifest["format"] != _FORMAT:
        raise ValueError(f"its format is {manifest['format']!r:.80}; this reader knows {_FORMAT!r}")
    files = _members(manifest["files"], "its list of files")
    entries: dict[str, FileEntry] = {}
    for path, value_of_path in files.items():
        entry = _members(value_of_path, f"file {path!r:.200}", {"sha256", "size"})
        # Manifest checks the types of both.
        entries[path] = FileEntry(cast("int", entry["size"]), cast("str", entry["sha256"]))
    return entries


def _members(value: object, what: str, names: AbstractSet[str] | None = None) -> dict[str, object]:
    """Return the members of a JSON object; ValueError when it is none or has other names."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")  # noqa: TRY004 - the text is wrong, no caller
    members = cast("dict[str, object]", value)
    if names is not None and set(members) != names:
        raise ValueError(f"{what} has other members than {' and '.join(sorted(names))}")
    return members


def check_path(path: str) -> None:
    """Raise ValueError, in words, unless `path` is a relative POSIX path that stays inside."""
    shown = f"{path!r:.200}"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the path {shown} is not UTF-8 text; rename the file") from None
    if size > MAX_PATH_BYTES:
        raise ValueError(f"the path {shown} takes {size} bytes; at most {MAX_PATH_BYTES}")
    if _CONTROL_OR_BACKSLASH.search(path):
        raise ValueError(f"the path {shown} has a backslash or a control character")
    if path.startswith("/"):
        raise ValueError(f"the path {shown} is absolute; paths are relative to the artefact")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"the path {shown} has an empty part, '.' or '..'")


def _check_entry(path: str, entry: FileEntry) -> None:
    """Raise ValueError unless size and hash are ones."""
    if type(entry.size) is not int or not 0 <= entry.size <= MAX_SIZE_BYTES:
        raise ValueError(f"file {path!r} has size {entry.size!r:.40}; expected 0 or more bytes")
    if type(entry.sha256) is not str or _SHA256.fullmatch(entry.sha256) is None:
        raise ValueError(f"file {path!r} has sha256 {entry.sha256!r:.80}; expected 64 hex digits")


def _check_no_file_is_a_folder(paths: Mapping[str, FileEntry]) -> None:
    """Raise ValueError when one path goes through another."""
    for path in paths:
        end = path.find("/")
        while end != -1:
            if path[:end] in paths:
                raise ValueError(f"{path[:end]!r} is both a file and the folder of {path!r}")
            end = path.find("/", end + 1)


def scan(
    folder: Path,
    on_progress: Callable[[int], None] | None = None,
    *,
    skips: AbstractSet[str] = frozenset(),
) -> Manifest:
    """Return the manifest of the files below `folder`, each read once, in sorted order.

    Empty folders are not listed. The folder itself may be a symbolic link; nothing in it may be
    one.

    Args:
        folder: the artefact.
        on_progress: told how many bytes were hashed since it was last told.
        skips: names of folders that are left out, wherever they are.

    Raises:
        ValueError: the folder holds something that an artefact cannot hold, or changed meanwhile.
        OSError: the folder or a file in it cannot be read.
    """
    paths: list[str] = []
    for path in _walk(folder, "", skips):
        # Checked before anything is hashed: hashing may take minutes.
        check_path(path)
        paths.append(path)
        if len(paths) > MAX_FILES:
            raise ValueError(f"{folder} has more than {MAX_FILES} files")
    if not paths:
        raise ValueError(f"{folder} has no files; expected the folder of a model")
    return Manifest({path: _hash(folder / path, on_progress) for path in sorted(paths)})


def _walk(folder: Path, prefix: str, skips: AbstractSet[str]) -> Iterator[str]:
    """Yield the relative paths of the files below `folder`, whose own is `prefix`."""
    with os.scandir(folder / prefix) as entries:
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_symlink():
                raise ValueError(f"{path!r} in {folder} is a symbolic link; copy what it points to")
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in skips:
                    yield from _walk(folder, f"{path}/", skips)
            elif not entry.is_file(follow_symlinks=False):
                raise ValueError(f"{path!r} in {folder} is a device, pipe or socket, not a file")
            else:
                yield path


def _hash(path: Path, on_progress: Callable[[int], None] | None) -> FileEntry:
    """Return the size and hash of one regular file."""
    # The file may have been replaced since it was listed: a link is not followed, a pipe not
    # waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise ValueError(f"{path} is not a regular file")
        hashed, size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while count := file.readinto(buffer):
            hashed.update(buffer[:count])
            size += count
            if on_progress is not None:
                on_progress(count)
        after = os.fstat(descriptor)
    if (size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ValueError(f"{path} changed while it was read; publish a model once it is complete")
    return FileEntry(size, hashed.hexdigest())
