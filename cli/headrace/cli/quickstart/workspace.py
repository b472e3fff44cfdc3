"""The folder of one quickstart: broker data, models, the node's cache, logs.

A temporary one is removed at the end; after a failure its logs stay.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from headrace.cli.quickstart.errors import QuickstartFailed

_PARTS: Final = ("kafka", "store", "cache", "tmp")


class Workspace:
    """A folder with a place for everything that the quickstart writes.

    **Concurrency:** one owner.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self._is_temporary = data_dir is None
        self._wanted = data_dir
        self._path: Path | None = None

    def __enter__(self) -> Self:
        try:
            if self._wanted is None:
                self._path = Path(tempfile.mkdtemp(prefix="headrace-quickstart-"))
            else:
                self._path = self._wanted.expanduser().absolute()
            for part in (*_PARTS, "logs"):
                (self._path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QuickstartFailed(
                f"cannot use {self._wanted or tempfile.gettempdir()} as data folder: "
                f"{error.strerror}: give another --data-dir"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An interruption is no failure: there is nothing to look up.
        has_failed = kind is not None and issubclass(kind, Exception)
        if not self._is_temporary:
            shutil.rmtree(self.path / "tmp", ignore_errors=True)
        elif has_failed:
            for part in _PARTS:
                shutil.rmtree(self.path / part, ignore_errors=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def path(self) -> Path:
        """The folder itself; it exists while the workspace is open."""
        if self._path is None:
            raise RuntimeError("the workspace is not open")
        return self._path

    @property
    def kafka(self) -> Path:
        """The broker's data."""
        return self.path / "kafka"

    @property
    def store(self) -> Path:
        """The artefact store."""
        return self.path / "store"

    @property
    def cache(self) -> Path:
        """The node's verified copies."""
        return self.path / "cache"

    @property
    def tmp(self) -> Path:
        """Scratch space of the processes."""
        return self.path / "tmp"

    def log(self, name: str) -> Path:
        """Return the log file of one process."""
        return self.path / "logs" / f"{name}.log"
