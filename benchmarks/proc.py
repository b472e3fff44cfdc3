"""What Linux knows of processes: children, memory, CPU time. Reads `/proc`, needs no package."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Proportional set size: pages shared by n processes count 1/n in each.

    `anonymous_bytes` is the part that no file backs; other programs that map the same libraries
    change the whole, but not this part.

    **Source:** proc(5), smaps_rollup.
    """

    pss_bytes: int
    anonymous_bytes: int


def tree(pid: int) -> list[int]:
    """Return a process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def memory(pids: list[int]) -> Memory:
    """Return the sum over processes; one that is gone counts nothing."""
    pss = anonymous = 0
    for pid in pids:
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines:
            if line.startswith("Pss:"):
                pss += int(line.split()[1]) * 1024
            elif line.startswith("Pss_Anon:"):
                anonymous += int(line.split()[1]) * 1024
    return Memory(pss, anonymous)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process has used, without its children."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND if fields else 0.0


def busy_seconds() -> float:
    """Return the processor time that everything on this machine has used, kernel included.

    **Source:** proc(5), /proc/stat; idle and iowait are left out, guests are in user time.
    """
    ticks = [int(field) for field in (_PROC / "stat").read_text("ascii").split("\n")[0].split()[1:]]
    return (sum(ticks[:3]) + sum(ticks[5:8])) / _TICKS_PER_SECOND


def peak_memory_bytes(pid: int) -> int:
    """Return the largest resident set since the start or `forget_peak`; 0 when it is gone."""
    try:
        lines = (_PROC / str(pid) / "status").read_text("utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def forget_peak(pid: int) -> None:
    """Let the largest resident set be what it is now.

    **Source:** proc(5), clear_refs, value 5.
    """
    (_PROC / str(pid) / "clear_refs").write_text("5", "ascii")


def named(pids: list[int], prefix: str) -> list[int]:
    """Return those whose process name begins with `prefix`."""
    return [pid for pid in pids if name(pid).startswith(prefix)]


def name(pid: int) -> str:
    """Return the name of a process, "" when it is gone."""
    try:
        return (_PROC / str(pid) / "comm").read_text("utf-8").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, from the state on; [] when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name is in parentheses and may hold anything, also spaces and parentheses.
    return text.rpartition(")")[2].split()
