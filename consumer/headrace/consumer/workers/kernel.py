"""What the child processes ask of Linux: die with the parent, a name, a thread count, CPU affinity.

Every function is about the calling process. No state.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends.

    Args:
        parent_pid: the expected parent. When it is gone already the process ends here: the signal
            would never come.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    if os.getppid() != parent_pid:
        os._exit(1)


def set_process_name(name: str) -> None:
    """Name the process as `ps` and `top` show it; the kernel keeps 15 bytes."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def thread_count() -> int:
    """Return how many threads this process has, counting those of native code."""
    return len(list(Path("/proc/self/task").iterdir()))


def words_of_exit(status: int) -> str:
    """Return a wait status in words: "killed by SIGSEGV", "exit code 70"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}"


@contextmanager
def confined_to_one_core() -> Generator[None]:
    """Run the block on one core, then give every thread of the process all its cores back.

    Affinity can be taken back without privileges, which niceness cannot. Threads that the block
    starts inherit the one core, so they are restored one by one.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        for task in Path("/proc/self/task").iterdir():
            try:
                os.sched_setaffinity(int(task.name), cores)
            except ProcessLookupError:
                continue  # The thread has ended since the folder was listed.
