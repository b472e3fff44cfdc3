"""Python processes of a benchmark: tied to it, logged to a file, always ended."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.measurement import BenchmarkError, Json
from headrace.cli.broker import tether

_ROOT: Final = Path(__file__).parents[1]
_GRACE_SECONDS: Final = 30.0
_NUMBERS: Final = itertools.count(1)


class Child:
    """One running child.

    **Concurrency:** event loop of the main thread only, because the tether ties it to a thread.
    """

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path, grace_seconds: float
    ) -> None:
        self.log = log
        self._grace_seconds = grace_seconds
        self._name = name
        self._process = process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check_running(self) -> None:
        """Raise BenchmarkError, with its last words, when the child has ended."""
        if self._process.returncode is not None:
            raise BenchmarkError(f"{self._name} ended by itself: {self._last_words()}")

    async def next_message(self, timeout_seconds: float = 120.0) -> Json:
        """Return the next line of the child's standard output, a JSON object.

        Raises:
            BenchmarkError: it ended, or said nothing in time.
        """
        assert self._process.stdout is not None, "only who has a pipe is listened to"
        try:
            async with asyncio.timeout(timeout_seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchmarkError(f"{self._name} said nothing for {timeout_seconds:g} s") from None
        if not line:
            raise BenchmarkError(f"{self._name} ended too early: {self._last_words()}")
        said: Json = json.loads(line)
        return said

    async def finish(self, timeout_seconds: float = 120.0) -> None:
        """Close the child's standard input and wait until it has ended well.

        Raises:
            BenchmarkError: it failed, or went on for too long.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(timeout_seconds):
                code = await self._process.wait()
        except TimeoutError:
            raise BenchmarkError(f"{self._name} went on for {timeout_seconds:g} s") from None
        if code:
            raise BenchmarkError(f"{self._name} failed with code {code}: {self._last_words()}")

    async def stop(self) -> None:
        """End the child: SIGTERM, some patience, SIGKILL.

        Raises:
            BenchmarkError: it did not end by itself.

        Cancellation: the child is killed at once.
        """
        try:
            with suppress(ProcessLookupError):
                self._process.terminate()
            async with asyncio.timeout(self._grace_seconds):
                await self._process.wait()
        except TimeoutError:
            await self._kill()
            raise BenchmarkError(f"{self._name} had to be killed; it logged {self.log}") from None
        except asyncio.CancelledError:
            await self._kill()
            raise

    async def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line]
        return lines[-1][:400] if lines else "it logged nothing"


@asynccontextmanager
async def running(
    module: str, arguments: Sequence[str], folder: Path
) -> AsyncGenerator[Child, None]:
    """Run `python -m MODULE ARGUMENTS…` as `running_program` does."""
    command = [sys.executable, "-m", module, *arguments]
    async with running_program(module, command, folder, stdout=subprocess.PIPE) as child:
        yield child


@asynccontextmanager
async def running_program(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    stdout: int | None = None,
    grace_seconds: float = _GRACE_SECONDS,
) -> AsyncGenerator[Child, None]:
    """Run a command as long as the context lasts; it logs into `folder`.

    Its standard output goes there too, unless it is a pipe: one that nobody reads stops a program
    that says much.

    It dies with this process, whatever ends that.
    """
    log = folder / f"{name}-{next(_NUMBERS)}.log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
            *command,
            stdin=subprocess.PIPE,
            stdout=sink if stdout is None else stdout,
            stderr=sink,
            cwd=_ROOT,
            env=_environment(folder),
            # Ctrl-C reaches the whole foreground group; only we decide when the child stops.
            start_new_session=True,
        )
    child = Child(name, process, log, grace_seconds)
    try:
        yield child
    finally:
        await child.stop()


def _environment(folder: Path) -> dict[str, str]:
    """Return our environment without a real deployment's settings, which are not meant for us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | {"TMPDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}
