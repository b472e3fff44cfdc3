"""Where a Python process spends its time under load, seen from outside by py-spy.

Optional: py-spy is no dependency. Found on the PATH or by the environment variable PY_SPY.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.measurement import BenchmarkError, Json

SECONDS: Final = 8
_RATE: Final = 100
_LOOP_THREAD: Final = "run_until_complete"
_WAITING: Final = "waiting for something to do"
# Threads that only wait: the default executor's, and asyncio's for child processes.
_IDLE_THREADS: Final = ("_do_waitpid", "_worker (concurrent/futures")
_WAITS: Final = ("epoll_wait", "poll (", "pthread_cond", "futex")
# What a frame says of its file, and what that file belongs to; the innermost frame that matches
# decides. py-spy shortens files to `package/module.py`.
_OWNERS: Final = (
    (re.compile(r"_SelectorSocketTransport\.(write|send)"), "asyncio, sending to the worker"),
    (re.compile(r"\((headrace|consumer|publisher|schemas|protos)/"), "Headrace"),
    (re.compile(r"cygrpc|\(grpc/"), "grpc (C core, Cython, Python)"),
    (re.compile(r"\(asyncio/|\(_asyncio"), "asyncio, the rest"),
)

Owners = Sequence[tuple[re.Pattern[str], str]]


def find() -> str | None:
    """Return py-spy's path, None when it is not here."""
    return os.environ.get("PY_SPY") or shutil.which("py-spy")


async def shares(
    py_spy: str, pid: int, output: Path, work: Callable[[], Awaitable[object]]
) -> Json:
    """Sample a gRPC node while `work` runs; return percent of its busy time by owner.

    Raises:
        BenchmarkError: py-spy may not look, or failed.
    """
    return sort(await samples(py_spy, pid, output, work))


async def samples(
    py_spy: str, pid: int, output: Path, work: Callable[[], Awaitable[object]]
) -> list[str]:
    """Sample a process while `work` runs; return `frame;frame;… count` lines, outermost first.

    Raises:
        BenchmarkError: py-spy may not look, or failed.
    """
    process = await asyncio.create_subprocess_exec(
        *(py_spy, "record", "--pid", str(pid), "--duration", str(SECONDS), "--rate", str(_RATE)),
        *("--native", "--format", "raw", "--output", str(output)),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        await work()
        async with asyncio.timeout(SECONDS + 30):
            _, said = await process.communicate()
    except TimeoutError:
        raise BenchmarkError("py-spy did not finish") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        raise BenchmarkError(f"py-spy failed: {said.decode(errors='replace').strip()[-300:]}")
    return await asyncio.to_thread(lambda: output.read_text("utf-8").splitlines())


def by_owner(lines: Iterable[str], owners: Owners) -> Json:
    """Return percent of the busy time by owner; the innermost frame that has one decides.

    Threads that wait count nothing.
    """
    found = Counter[str]()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not _is_waiting(frames[-1]) and not any(idle in stack for idle in _IDLE_THREADS):
            found[_owner(frames, owners)] += int(count)
    if not found:
        raise BenchmarkError("py-spy saw the process do nothing")
    return {owner: round(100 * count / found.total()) for owner, count in found.most_common()}


def sort(lines: Iterable[str]) -> Json:
    """Return the shares of `frame;frame;… count` lines, outermost frame first."""
    loop, others = Counter[str](), 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if any(idle in stack for idle in _IDLE_THREADS):
            continue
        frames = stack.split(";")
        owner = _WAITING if _is_waiting(frames[-1]) else _owner(frames)
        if _LOOP_THREAD in stack:
            loop[owner] += int(count)
        elif owner != _WAITING:
            others += int(count)
    waiting = loop.pop(_WAITING, 0)
    busy, samples = loop.total() + others, loop.total() + waiting
    if not busy:
        raise BenchmarkError("py-spy saw the process do nothing")
    return {
        "event_loop_thread_waits": round(100 * waiting / max(1, samples)),
        "of_the_busy_time": {
            **{owner: round(100 * count / busy) for owner, count in loop.most_common()},
            "grpc, its polling thread": round(100 * others / busy),
        },
    }


def _is_waiting(leaf: str) -> bool:
    return any(leaf.startswith(wait) for wait in _WAITS)


def _owner(frames: list[str], owners: Owners = _OWNERS) -> str:
    for frame in reversed(frames):
        for pattern, owner in owners:
            if pattern.search(frame):
                return owner
    return "other"
