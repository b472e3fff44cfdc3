"""An exec trampoline that ties a child's life to its parent's: ``tether.py PARENT_PID COMMAND…``.

Linux kills the command the moment the parent is gone, whatever ended it (``kill -9`` included),
because the wish for that signal survives ``exec``. Run as a script, not imported: code between
fork and exec of a threaded parent (``preexec_fn``) can deadlock, a fresh interpreter cannot.
Elsewhere than on Linux it only execs, and a killed parent leaves the command running.

The signal fires when the *thread* that started the command exits, so start it from a thread
that lives as long as the command should: the main thread.

Source: prctl(2), PR_SET_PDEATHSIG.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NOT_EXECUTABLE = 127


def _die_with(parent_pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # A parent that died before the call above sends no signal any more.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Tie this process to the parent named first, then become the command that follows."""
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        _die_with(parent_pid)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(_NOT_EXECUTABLE)


if __name__ == "__main__":
    main()
