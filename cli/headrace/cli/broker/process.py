"""A child process that cannot outlive this one, watched without an event loop of its own.

It owns start, exit code and the way down (SIGTERM, bounded wait, SIGKILL); it knows no Kafka.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from headrace.cli.broker import tether

_POLL_SECONDS = 0.02


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` tied to the life of this process."""
    # Isolated and without site: the trampoline needs the standard library only, and fast.
    return [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]


class TetheredProcess:
    """One running child whose output goes to a file.

    **Concurrency:** spawn from the main thread (the tether fires when the spawning thread ends);
    the waits may run on any event loop, also on another one than at the start.
    """

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @classmethod
    def spawn(
        cls, command: Sequence[str], *, cwd: Path, output: Path, keep_fds: Sequence[int] = ()
    ) -> Self:
        """Start `command` in `cwd`, its output (truncated first) in `output`.

        `keep_fds` stay open in the child: a lock held by one of them lives as long as the child.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a tethered process must be started from the main thread")
        with output.open("wb") as sink:
            popen = subprocess.Popen(
                tethered(command),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                pass_fds=keep_fds,
                # A UTF-8 locale lets Java read any folder name.
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                # Ctrl-C reaches the whole foreground group; only we decide when the child stops.
                start_new_session=True,
            )
        return cls(popen)

    @property
    def pid(self) -> int:
        """The process id, the same before and after the trampoline's exec."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._popen.poll()

    async def wait(self) -> int:
        """Wait until the child ends, and return its exit code.

        Cancellation: the child runs on.
        """
        # Child watchers belong to one event loop; a look at the exit code belongs to none.
        while (code := self._popen.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        return code

    async def stop(self, *, grace_seconds: float) -> int:
        """End the child: SIGTERM, up to `grace_seconds` of patience, SIGKILL.

        Cancellation: the child is killed at once and reaped.
        """
        try:
            self._popen.terminate()
            async with asyncio.timeout(grace_seconds):
                return await self.wait()
        except TimeoutError:
            return self._kill()
        except asyncio.CancelledError:
            self._kill()
            raise

    def _kill(self) -> int:
        self._popen.kill()
        return self._popen.wait()
