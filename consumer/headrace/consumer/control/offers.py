"""The versions that reload requests point at: found, brought to this machine, and hashed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final

from headrace.consumer.control.changes import Offer, pick
from headrace.consumer.control.version_folders import VersionFolders
from headrace.consumer.core.plan import Plan
from headrace.consumer.core.repository import ModelWish
from headrace.publisher.artifact import examine

_ABANDON_SECONDS: Final = 5.0
"""How long a cancelled call waits for its thread to notice."""


async def find_offers(
    wishes: Sequence[ModelWish], plan: Plan, held: ExitStack
) -> dict[str, Mapping[int, Offer]]:
    """Return, by model and number, the versions that the wishes' policies pick.

    What has to be copied from a store lies in temporary folders for as long as `held` is open.

    Raises:
        InvalidRequest: a base path cannot be used, or has no version.
        InvalidModel: a folder holds nothing that a node could load.
    """
    found: dict[str, Mapping[int, Offer]] = {}
    for wish in wishes:
        folders = await asyncio.to_thread(VersionFolders, wish.name, wish.base_path)
        names = await asyncio.to_thread(folders.names)
        offered: dict[int, Offer] = {}
        for number in pick(wish, names, plan):
            folder = await _bring(folders, names[number], held)
            artifact = await examine(folder)
            offered[number] = Offer(folder, artifact.manifest.digest)
        found[wish.name] = offered
    return found


async def _bring(folders: VersionFolders, name: str, held: ExitStack) -> Path:
    """Return a version's folder on this machine.

    Cancellation: the copy ends at its next piece, and is removed with `held`.
    """
    scratch = Path(held.enter_context(TemporaryDirectory(prefix="headrace-reload-")))
    gone = Event()
    copying = asyncio.ensure_future(asyncio.to_thread(folders.bring, name, scratch, gone))
    try:
        return await asyncio.shield(copying)
    finally:
        gone.set()
        if not copying.done():
            await asyncio.wait({copying}, timeout=_ABANDON_SECONDS)
