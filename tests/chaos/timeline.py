"""What was done when, for whoever has to explain a failure."""

from __future__ import annotations

import sys
import time
from pathlib import Path


class Timeline:
    """A log of moments, in a file of the run's folder, and on stderr when it is loud.

    **Concurrency:** event loop only.
    """

    def __init__(self, folder: Path, *, is_loud: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._is_loud = is_loud
        self._began = time.monotonic()
        self._file = folder / "timeline.txt"

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, words: str) -> None:
        """Note that something happened now."""
        line = f"{self.seconds:8.3f} {time.time():.3f} {words}\n"
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line)
        if self._is_loud:
            sys.stderr.write(line)
