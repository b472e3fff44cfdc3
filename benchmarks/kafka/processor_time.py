"""Who used the processors during a round: the parts by name, and everything else on the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import proc
from benchmarks.measurement import Json

Pids = Mapping[str, Sequence[int]]

ELSEWHERE: Final = "elsewhere"
"""What no part used: other programs, and the kernel's own threads. Much of it spoils a round."""


class ProcessorTime:
    """Counts from the moment it is made."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._before = self._now()

    def used(self) -> dict[str, float]:
        """Return the seconds that each part has used since."""
        now = self._now()
        return {part: now[part] - before for part, before in self._before.items()}

    def _now(self) -> dict[str, float]:
        parts = {
            part: sum(proc.cpu_seconds(pid) for pid in pids) for part, pids in self._pids.items()
        }
        return parts | {ELSEWHERE: proc.busy_seconds() - sum(parts.values())}


def per_million(used: Mapping[str, float], records: int) -> Json:
    """Return the figures of a run, by names that medians are made of."""
    return {
        f"{part}_cpu_seconds_per_million": round(seconds / records * 1e6, 3)
        for part, seconds in used.items()
    }


def of_node(pid: int) -> dict[str, list[int]]:
    """Return a node's processes: itself, its workers, and what makes them."""
    below = [found for found in proc.tree(pid) if found != pid]
    workers = proc.named(below, "hr ")
    return {
        "node": [pid],
        "workers": workers,
        "zygote": [found for found in below if found not in workers],
    }


def joined(parts: Sequence[Pids]) -> dict[str, list[int]]:
    """Return the processes of several, part by part."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: [pid for part in parts for pid in part.get(name, ())] for name in names}
