"""The node's side of the process that compares: start it, ask it, and start it anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.shadow.messages import LENGTH, Job

log = structlog.get_logger()

_MODULE: Final = "headrace.consumer.shadow.comparing_process"
_STOP_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_MAX_PAUSE_SECONDS: Final = 30.0


class ComparisonFailed(Exception):
    """The process that compares died over a job, or did not end it in time."""


class Comparer:
    """Has answers compared by another process, one job at a time.

    The process is started when it is first needed, and anew when it has died: at once, then with
    pauses that grow while it keeps dying.

    **Concurrency:** event loop only; any number of callers, who wait for their turn.

    Units: `timeout_seconds` bounds a job with the start of the process; both give way to all else
    on the machine, so it is long.
    """

    def __init__(self, *, timeout_seconds: float = 60.0) -> None:
        self._timeout_seconds = timeout_seconds
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._pauses = self._fresh_pauses()
        self._earliest_start = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[bytes]).decode

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    async def compare(self, job: Job) -> list[bytes]:
        """Return an encoded ShadowComparison for each pair.

        Raises:
            ComparisonFailed: there was no answer; the process is started anew for the next job.

        Cancellation: the process is ended.
        """
        async with self._turn:
            process = await self._running()
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    answer = await _ask(process, self._encode(job))
                found = self._decode(answer)
            except (TimeoutError, OSError, EOFError, msgspec.MsgspecError) as error:
                await self._end()
                self._earliest_start = time.monotonic() + next(self._pauses)
                reason = f"{type(error).__name__}: {error}".removesuffix(": ")
                log.warning("shadow.comparer_died", pid=process.pid, reason=reason)
                raise ComparisonFailed(
                    f"the process that compares did not answer ({reason})"
                ) from error
            except asyncio.CancelledError:
                _kill(process)  # Half a message may be on its way.
                raise
        self._pauses = self._fresh_pauses()
        return found

    async def close(self) -> None:
        """End the process."""
        await self._end()

    async def _running(self) -> asyncio.subprocess.Process:
        """Return the living process, started if need be."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        await asyncio.sleep(self._earliest_start - time.monotonic())
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", _MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        log.info("shadow.comparer_started", pid=self._process.pid)
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()

    @staticmethod
    def _fresh_pauses() -> Iterator[float]:
        return backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)


async def _ask(process: asyncio.subprocess.Process, message: bytes) -> bytes:
    assert process.stdin
    assert process.stdout
    process.stdin.write(LENGTH.pack(len(message)))
    process.stdin.write(message)
    await process.stdin.drain()
    (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return await process.stdout.readexactly(size)


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
