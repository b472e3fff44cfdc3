"""Base paths as clients of TensorFlow Serving name them: folders whose subfolders are versions.

Blocking. Lists them and brings one to this machine; what is in them is the publisher's business.

Source: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc, 2.20.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from headrace.consumer.artifacts.download import SCHEMES
from headrace.consumer.core.errors import InvalidRequest
from headrace.publisher.filesystems import url_to_fs
from headrace.schemas.manifest import check_path
from headrace.schemas.records import MAX_VERSION

_NUMBER: Final = re.compile(r"[0-9]{1,40}")
_PIECE_BYTES: Final = 2**20


class VersionFolders:
    """The versions below one base path: an absolute path, or the URI of a store of files.

    **Concurrency:** blocking; one thread at a time.

    Raises:
        InvalidRequest: it is neither, or nothing on this node reads such a URI.
    """

    def __init__(self, model: str, base_path: str) -> None:
        self._model = model
        self._base_path = base_path
        scheme, separator, rest = base_path.partition("://")
        self._local = Path(rest if separator else base_path)
        self.is_local = scheme in {"file", "local"} if separator else True
        is_relative = self.is_local and not self._local.is_absolute()
        if is_relative or "::" in base_path or (separator and scheme not in SCHEMES):
            raise InvalidRequest(
                f"Expected model {model} to have an absolute path or URI; got "
                f"base_path={base_path!r:.200}: give a path that begins with /, or one of "
                f"{', '.join(sorted(SCHEMES))} followed by ://"
            )
        if self.is_local:
            return
        with self._reading():
            self._files, self._root = url_to_fs(base_path)

    def names(self) -> dict[int, str]:
        """Return the names of the version folders by their number; leading zeros are fine.

        Raises:
            InvalidRequest: the base path is not there, or cannot be listed.
        """
        with self._reading():
            names = self._local_names() if self.is_local else self._remote_names()
            numbers = {int(name): name for name in sorted(names) if _NUMBER.fullmatch(name)}
        return {number: name for number, name in numbers.items() if number <= MAX_VERSION}

    def bring(self, name: str, scratch: Path, gone: Event) -> Path:
        """Return a version's folder on this machine, copied into `scratch` if it is not here.

        Args:
            name: what `names` returned.
            scratch: an empty folder.
            gone: once set, nobody waits for the copy any more.

        Raises:
            InvalidRequest: the store cannot be read.
            OSError: `scratch` cannot be written.
        """
        if self.is_local:
            return (self._local / name).resolve()
        prefix = f"{self._root.rstrip('/')}/{name}/"
        with self._reading():
            found = list(self._files.find(prefix.rstrip("/"), detail=True))
        for path in found:
            if gone.is_set():
                break
            self._copy(path, scratch / self._checked(path.removeprefix(prefix)), gone)
        return scratch

    def _local_names(self) -> Iterable[str]:
        return [child.name for child in self._local.iterdir() if child.is_dir()]

    def _remote_names(self) -> Iterable[str]:
        self._files.invalidate_cache()
        return [
            str(entry["name"]).rstrip("/").rpartition("/")[2]
            for entry in self._files.ls(self._root, detail=True)
            if entry["type"] == "directory"
        ]

    def _checked(self, path: str) -> str:
        """Return the path of a file below a version folder; a store may list what it likes."""
        try:
            check_path(path)
        except ValueError as error:
            raise InvalidRequest(f"model {self._model} at {self._base_path!r}: {error}") from error
        return path

    def _copy(self, path: str, target: Path, gone: Event) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._reading():
            reader = self._files.open(path, "rb")
        with reader, target.open("xb") as writer:
            while not gone.is_set():
                with self._reading():
                    piece = reader.read(_PIECE_BYTES)
                if not piece:
                    return
                writer.write(piece)

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Say in words what goes wrong while the base path is read."""
        try:
            yield
        except InvalidRequest:
            raise
        except FileNotFoundError as error:
            raise InvalidRequest(
                f"Could not find base path {self._base_path} for servable {self._model}: the "
                "folder has to be there on the node that is asked"
            ) from error
        except Exception as error:  # door: each store has error classes of its own
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise InvalidRequest(
                f"cannot read base path {self._base_path} of model {self._model}: {cause}"
            ) from error
