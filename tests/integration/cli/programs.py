"""Runs `headrace` as a user does: a process of its own, its exit code and its two outputs."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended and what it wrote."""

    code: int
    out: str
    err: str


async def headrace(*arguments: str, stdin: str = "", **environment: str) -> Ended:
    """Run the program and return how it ended; what is set in our environment does not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=kept | environment,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Ended(await process.wait(), out.decode(), err.decode())
