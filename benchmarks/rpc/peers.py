"""MLServer and PyTriton as peers: the same numbers, asked over Open Inference."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import infer_wire, proc, venvs
from benchmarks.children import Child, running_program
from benchmarks.h2load import Target
from benchmarks.kafka.mlserver import settings
from benchmarks.measurement import Bench, BenchmarkError
from benchmarks.predict_wire import Floats
from benchmarks.rpc.rounds import Subject, asked, pids_below
from benchmarks.rpc.wires import INFER
from benchmarks.servers import free_ports

MLSERVER: Final = "MLServer"
PYTRITON: Final = "PyTriton"
_PYTRITON: Final = Path(__file__).with_name("pytriton")
_PYTRITON_PINS: Final = _PYTRITON / "requirements.txt"
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 20.0
# Triton brings a Python of its own, which may be older than the standard library that it is given,
# and then lacks what that asks of a lock.
_OLDER_PYTHON: Final = """

from multiprocessing import resource_tracker as _tracker

if not hasattr(_tracker._resource_tracker._lock, "_recursion_count"):
    _tracker._resource_tracker._lock = threading._PyRLock()
"""

Serving = Callable[[Bench, Floats, Floats], AbstractAsyncContextManager[Subject]]


def versions() -> dict[str, str]:
    """Return which versions are pinned."""
    return {
        MLSERVER: venvs.pinned(settings.REQUIREMENTS, "mlserver"),
        PYTRITON: venvs.pinned(_PYTRITON_PINS, "nvidia-pytriton"),
    }


@asynccontextmanager
async def mlserver(bench: Bench, x: Floats, y: Floats) -> AsyncGenerator[Subject, None]:
    """Run MLServer with its numpy runtime; it has answered when the context begins."""
    program = await venvs.installed("mlserver", settings.REQUIREMENTS) / "bin" / "mlserver"
    folder = bench.folder / "mlserver"
    endpoint = await asyncio.to_thread(settings.write, folder, {})
    command = [str(program), "start", str(folder)]
    async with _running(bench, MLSERVER, command) as child:
        target = await _ready(bench, child, endpoint, x=x, y=y)
        yield Subject(MLSERVER, target, pids_below(child, "server"))


@asynccontextmanager
async def pytriton(bench: Bench, x: Floats, y: Floats) -> AsyncGenerator[Subject, None]:
    """Run PyTriton with a function as its model; its requests have a dimension for the batch."""
    folder = await venvs.installed("pytriton", _PYTRITON_PINS, _adapt)
    ports = free_ports(3)
    program = (str(folder / "bin" / "python"), str(_PYTRITON / "server.py.txt"))
    command = [*program, *map(str, ports)]
    async with _running(bench, PYTRITON, command) as child:
        endpoint = f"127.0.0.1:{ports[1]}"
        target = await _ready(bench, child, endpoint, x=x[np.newaxis], y=y)
        yield Subject(PYTRITON, target, pids_below(child, "server"))


def _adapt(folder: Path) -> None:
    (proxy,) = folder.glob("lib/python*/site-packages/pytriton/proxy/data.py")
    proxy.write_text(proxy.read_text("utf-8") + _OLDER_PYTHON, "utf-8")


@asynccontextmanager
async def _running(bench: Bench, name: str, command: Sequence[str]) -> AsyncGenerator[Child, None]:
    """Run a peer; how it ends is its own business, but none of its processes stays."""
    async with running_program(
        name.lower(), command, bench.folder, grace_seconds=_GRACE_SECONDS
    ) as child:
        try:
            yield child
        finally:
            tree = proc.tree(child.pid)
            try:
                await child.stop()
            except BenchmarkError as error:
                bench.tell(str(error))
            for pid in tree:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


async def _ready(bench: Bench, child: Child, endpoint: str, *, x: Floats, y: Floats) -> Target:
    """Ask until the answer is right.

    Raises:
        BenchmarkError: it ended, or does not answer in time.
    """
    request = infer_wire.request_bytes(settings.MODEL, "x", x)
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        child.check_running()
        try:
            return await asked(bench.folder, INFER, endpoint, request, y)
        except BenchmarkError as error:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"after {_READY_SECONDS:g} s: {error}") from error
            await asyncio.sleep(_LOOK_SECONDS)
