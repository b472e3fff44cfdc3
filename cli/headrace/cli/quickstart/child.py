"""A Python process of the quickstart: tethered to it, talking in lines, ended in order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.cli.broker import tether
from headrace.cli.quickstart import messages
from headrace.cli.quickstart.errors import QuickstartFailed
from headrace.cli.quickstart.messages import Message
from headrace.cli.quickstart.workspace import Workspace

_GRACE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run: a module with its arguments, under a name that a person reads."""

    name: str
    module: str
    arguments: Sequence[str] = ()
    talks: bool = False


class Child:
    """One running child; see `running`.

    **Concurrency:** event loop of the main thread only, because of the tether.
    """

    def __init__(self, program: Program, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = program.name
        self.log = log
        self._process = process

    def say(self, line: str = "") -> None:
        """Write a line to the child's standard input; a child that is gone does not hear it."""
        if self._process.stdin is not None:
            with suppress(ConnectionError):
                self._process.stdin.write(f"{line}\n".encode())

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Yield what the child tells, until it closes its standard output."""
        assert self._process.stdout is not None, "only a program that talks is listened to"
        while line := await self._process.stdout.readline():
            try:
                yield messages.decode(line)
            except ValueError as error:
                raise QuickstartFailed(
                    f"the {self.name} wrote {line[:80]!r} instead of a message; log: {self.log}"
                ) from error

    async def ended(self) -> int:
        """Wait for the child's end and return its exit code."""
        return await self._process.wait()

    async def fail(self) -> QuickstartFailed:
        """Wait for the child's end and return that it came too early."""
        return self.failure(await self.ended())

    def failure(self, code: int) -> QuickstartFailed:
        """Return in words that the child ended with `code`, and the last line that it logged."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        # A traceback of an exception group ends in lines that only draw its tree.
        drawn = (line.strip(" |+-") for line in reversed(lines))
        last = next((line for line in drawn if line), "")
        said = f", saying: {last[:300]}" if last else ""
        return QuickstartFailed(
            f"the {self.name} ended by itself (exit code {code}){said}; log: {self.log}"
        )

    async def finish(self, timeout_seconds: float) -> int:
        """Close the child's standard input and wait until it has finished by itself.

        Raises:
            QuickstartFailed: it did not, within `timeout_seconds`.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self.ended()
        except TimeoutError:
            raise QuickstartFailed(
                f"the {self.name} did not finish within {timeout_seconds:g} s; log: {self.log}"
            ) from None

    async def stop(self) -> int:
        """End the child: SIGTERM, some patience, SIGKILL; return its exit code.

        Cancellation: the child is killed at once.
        """
        try:
            with suppress(ProcessLookupError):
                self._process.terminate()
            async with asyncio.timeout(_GRACE_SECONDS):
                return await self.ended()
        except TimeoutError:
            return await self._kill()
        except asyncio.CancelledError:
            await self._kill()
            raise

    async def _kill(self) -> int:
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()


@asynccontextmanager
async def running(program: Program, workspace: Workspace) -> AsyncGenerator[Child, None]:
    """Run a child as long as the context lasts; it dies with this process, whatever ends that."""
    log = workspace.log(program.name.replace(" ", "-"))
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
            # Not the current folder first on the path: who knows what lies in it.
            *(sys.executable, "-P", "-m", program.module, *program.arguments),
            stdin=subprocess.PIPE if program.talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if program.talks else sink,
            stderr=sink,
            env=_environment(workspace),
            # Ctrl-C reaches the whole foreground group; only we decide when the child stops.
            start_new_session=True,
        )
    child = Child(program, process, log)
    try:
        yield child
    finally:
        await child.stop()


def _environment(workspace: Workspace) -> dict[str, str]:
    """Return our environment without settings of a real deployment, which are not meant for us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | {"TMPDIR": str(workspace.tmp), "TF_CPP_MIN_LOG_LEVEL": "2"}
