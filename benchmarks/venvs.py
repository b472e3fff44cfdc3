"""Peers in virtual environments of their own: their pins and the node's do not go together."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs

from benchmarks.measurement import BenchmarkError

_INSTALL_SECONDS: Final = 600.0
_STAMP: Final = ".installed"


def _as_it_is(_folder: Path) -> None:
    pass


async def installed(
    name: str, requirements: Path, adapt: Callable[[Path], None] = _as_it_is
) -> Path:
    """Return the folder of a peer's environment, made in the user's cache the first time.

    `adapt` is given that folder when its packages have just been installed.

    Raises:
        BenchmarkError: it cannot be installed here; the message is pip's.
    """
    pins = await asyncio.to_thread(requirements.read_bytes)
    identity = hashlib.sha256(pins + sys.version.encode()).hexdigest()[:12]
    folder = Path(platformdirs.user_cache_dir("headrace")) / "benchmarks" / f"{name}-{identity}"
    if not (folder / _STAMP).is_file():
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await _run(name, sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet")
        await _run(name, *pip, "--requirement", str(requirements))
        await asyncio.to_thread(adapt, folder)
        await asyncio.to_thread((folder / _STAMP).touch)
    return folder


def pinned(requirements: Path, package: str) -> str:
    """Return the version of a package that is pinned."""
    pins = requirements.read_text("ascii").splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith(f"{package}=="))


async def _run(name: str, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    try:
        async with asyncio.timeout(_INSTALL_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        raise BenchmarkError(f"{command[0]} went on for {_INSTALL_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise BenchmarkError(f"{name} cannot be installed here: {' '.join(lines[-2:])[-400:]}")
