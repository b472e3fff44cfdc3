"""MLServer in a virtual environment of its own: its pins and the node's do not go together."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Final

import platformdirs

from benchmarks.measurement import BenchmarkError

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
_INSTALL_SECONDS: Final = 300.0
_STAMP: Final = ".installed"


async def installed() -> Path:
    """Return the `mlserver` program, installed into the user's cache the first time.

    Raises:
        BenchmarkError: it cannot be installed here; the message is pip's.
    """
    pins = await asyncio.to_thread(REQUIREMENTS.read_bytes)
    identity = hashlib.sha256(pins + sys.version.encode()).hexdigest()[:12]
    folder = Path(platformdirs.user_cache_dir("headrace")) / "benchmarks" / f"mlserver-{identity}"
    program = folder / "bin" / "mlserver"
    if not (folder / _STAMP).is_file():
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet")
        await _run(*pip, "--requirement", str(REQUIREMENTS))
        await asyncio.to_thread((folder / _STAMP).touch)
    return program


def version() -> str:
    """Return the version that is pinned."""
    pins = REQUIREMENTS.read_text("ascii").splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith("mlserver=="))


async def _run(*command: str) -> None:
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
        raise BenchmarkError(f"MLServer cannot be installed here: {' '.join(lines[-2:])[-400:]}")
