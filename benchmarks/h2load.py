"""Load by `h2load`, a compiled HTTP/2 client in its own process, which costs less than any server.

It counts HTTP statuses only, and a gRPC call that fails is HTTP 200 as well. But a failed call has
no message: so every byte that came back is compared with what that many good answers weigh.
"""

from __future__ import annotations

import asyncio
import re
import resource
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measurement import BenchmarkError
from benchmarks.predict_wire import METHOD, framed

_TIMEOUT_SECONDS: Final = 120.0
_FINISHED: Final = re.compile(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s")
_STATUSES: Final = re.compile(r"status codes: (\d+) 2xx")
_DATA: Final = re.compile(r"traffic: .* \((\d+)\) data")
_UNIT_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Shape:
    """How a load comes: connections, and calls open at once on each."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections} × {self.streams}"


@dataclass(frozen=True, slots=True)
class Target:
    """One server, and what is asked of it. `answer_bytes` is the size of a good answer."""

    endpoint: str
    request: Path
    answer_bytes: int
    method: str = METHOD


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load took, of the clock and of the client's processor time."""

    seconds: float
    client_cpu_seconds: float


def write_request(path: Path, message: bytes) -> Path:
    """Write a gRPC request body for `Target.request`."""
    path.write_bytes(framed(message))
    return path


def find() -> str:
    """Return the program's path.

    Raises:
        BenchmarkError: it is not installed.
    """
    found = shutil.which("h2load")
    if found is None:
        raise BenchmarkError(
            "h2load is not on the PATH: install it (Debian and Ubuntu: nghttp2-client; "
            "Fedora: nghttp2; Homebrew: nghttp2)"
        )
    return found


async def load(target: Target, shape: Shape, calls: int) -> Loaded:
    """Make so many calls.

    Raises:
        BenchmarkError: h2load failed, or not every call was answered with a good message.
    """
    before = _children_cpu_seconds()
    text = await _run(
        *(find(), "-n", str(calls), "-c", str(shape.connections), "-m", str(shape.streams)),
        *("-d", str(target.request)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"http://{target.endpoint}{target.method}",
    )
    finished, statuses, data = (p.search(text) for p in (_FINISHED, _STATUSES, _DATA))
    if finished is None or statuses is None or data is None:
        raise BenchmarkError(f"h2load said something unexpected: {text[-400:]!r}")
    good_bytes = calls * (len(framed(b"")) + target.answer_bytes)
    if int(statuses[1]) != calls or int(data[1]) != good_bytes:
        raise BenchmarkError(
            f"of {calls} calls {statuses[1]} had HTTP status 2xx, and their messages weigh "
            f"{data[1]} bytes instead of {good_bytes}: some calls failed"
        )
    seconds = float(finished[1]) * _UNIT_SECONDS[finished[2]]
    return Loaded(seconds, _children_cpu_seconds() - before)


def _children_cpu_seconds() -> float:
    """Return what children that have ended had used; only h2load ends during a load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise BenchmarkError(f"h2load did not finish in {_TIMEOUT_SECONDS:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        raise BenchmarkError(f"h2load failed: {err.decode(errors='replace').strip()}")
    return out.decode(errors="replace")
