"""A model on this machine, looked over and hashed: what a store copies and an event describes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from headrace.publisher import model_folder
from headrace.publisher.errors import InvalidModel
from headrace.publisher.progress import Hashed, OnProgress, Tick, ignore, in_thread
from headrace.publisher.store import ArtifactStore
from headrace.schemas.manifest import Manifest, scan
from headrace.schemas.records import SignatureSpec

# Importing a model once must not make it another model.
_COMPILED: Final = frozenset({"__pycache__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model's folder, the list of its files, what can load it and what it can be asked."""

    folder: Path
    platform: str
    manifest: Manifest
    signatures: tuple[str, ...]
    interface: tuple[SignatureSpec, ...] = ()

    def put(self, store_uri: str | None, tick: Tick) -> str:
        """Copy the files to a store and return their URI; blocking, raises as the store does."""
        return ArtifactStore(store_uri).put(self.folder, self.manifest, tick)


async def examine(
    path: str | os.PathLike[str], platform: str | None = None, on_progress: OnProgress = ignore
) -> Artifact:
    """Look a model over and hash its files, in a thread; no platform: its files tell which.

    Raises:
        InvalidModel: it cannot be served, or it changes while it is read.
    """
    return await in_thread(
        partial(_examine, path, platform),
        lambda done, total: on_progress(Hashed(done_bytes=done, total_bytes=total)),
    )


def _examine(path: str | os.PathLike[str], platform: str | None, tick: Tick) -> Artifact:
    summary = model_folder.inspect(path, platform)
    try:
        manifest = scan(summary.path, _adding_up(tick, _size_bytes(summary.path)), skips=_COMPILED)
    except ValueError as error:
        raise InvalidModel(f"the model cannot be published: {error}") from error
    except OSError as error:
        raise InvalidModel(
            f"cannot read {error.filename or summary.path}: {error.strerror or error}: check its "
            "permissions"
        ) from error
    return Artifact(
        folder=summary.path,
        platform=summary.platform,
        manifest=manifest,
        signatures=summary.signatures,
        interface=summary.interface,
    )


def _size_bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _adding_up(tick: Tick, total: int) -> Callable[[int], None]:
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        tick(min(done, total), total)

    return report
