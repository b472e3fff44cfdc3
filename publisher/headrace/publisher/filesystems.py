"""The typed face of fsspec: what of its file systems is used here, with types.

fsspec ships no type information, so this is the only file of the portion that imports it.
"""

# ruff: noqa: D102 - the methods are fsspec's, documented there

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol


class FileSystem(Protocol):
    """A file system of fsspec, 2026.1 or newer."""

    def open(self, path: str, mode: str) -> BinaryIO: ...
    def makedirs(self, path: str, exist_ok: bool) -> None: ...
    def exists(self, path: str) -> bool: ...
    def ls(self, path: str, detail: bool) -> list[dict[str, Any]]: ...
    def find(self, path: str, detail: bool) -> dict[str, dict[str, Any]]: ...
    def cat_file(self, path: str) -> bytes: ...
    def rm_file(self, path: str) -> None: ...
    def unstrip_protocol(self, name: str) -> str: ...
    def invalidate_cache(self) -> None: ...


if TYPE_CHECKING:

    def url_to_fs(url: str) -> tuple[FileSystem, str]:
        """Return the file system that a URI names, and the path in it."""
        ...

    def is_local(filesystem: FileSystem) -> bool:
        """Return whether the file system is this machine's own."""
        ...

else:
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    def is_local(filesystem: FileSystem) -> bool:
        """Return whether the file system is this machine's own."""
        return isinstance(filesystem, LocalFileSystem)


__all__ = ["FileSystem", "is_local", "url_to_fs"]
