"""Shows how a publication gets on: bars on a terminal, plain lines elsewhere, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from headrace.publisher.progress import (
    Appended,
    Hashed,
    NodeReported,
    OnProgress,
    Progress,
    Stored,
    Tried,
)

_LINE_INTERVAL_SECONDS: Final = 5.0
_PHASES: Final = {Hashed: "hashing", Stored: "storing"}


@contextmanager
def shown() -> Generator[OnProgress, None, None]:
    """Yield what to tell of a publication's progress."""
    if not sys.stderr.isatty():
        yield PlainLines(lambda line: typer.echo(line, err=True))
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TransferSpeedColumn(), console=console, transient=True) as bars:
        yield TerminalBars(bars)


class PlainLines:
    """One line for each thing that is done, and one every few seconds while it lasts.

    **Concurrency:** called on the event loop only.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = time.monotonic()
        self._finished: set[type[Progress]] = set()

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        kind = type(progress)
        match progress:
            case (
                Hashed(done_bytes=done, total_bytes=total)
                | Stored(done_bytes=done, total_bytes=total)
            ):
                is_finished = done >= total
            case Tried(done_examples=done, total_examples=total):
                is_finished = done >= total
            case _:
                self._say(line(progress))
                return
        is_due = time.monotonic() - self._last >= _LINE_INTERVAL_SECONDS
        if kind in self._finished or not (is_finished or is_due):
            return
        self._last = time.monotonic()
        if is_finished:
            self._finished.add(kind)
        self._say(line(progress))


class TerminalBars:
    """A bar for what counts bytes, lines above it for everything else.

    **Concurrency:** called on the event loop only.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._lines = PlainLines(
            lambda line: bars.console.print(line, highlight=False, markup=False)
        )
        self._tasks: dict[type[Progress], TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        if not isinstance(progress, Hashed | Stored):
            self._lines(progress)
            return
        kind = type(progress)
        if kind not in self._tasks:
            self._tasks[kind] = self._bars.add_task(_PHASES[kind])
        self._bars.update(
            self._tasks[kind], completed=progress.done_bytes, total=progress.total_bytes
        )

    def _print(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


def line(progress: Progress) -> str:
    """Return one report as one line."""
    match progress:
        case Hashed(done_bytes=done, total_bytes=total):
            return f"hashed {_size(done)} of {_size(total)}"
        case Tried(done_examples=done, total_examples=total):
            return f"ran {done} of {total} examples"
        case Stored(done_bytes=done, total_bytes=total):
            return f"stored {_size(done)} of {_size(total)}"
        case Appended(control_offset=offset):
            return f"event in the log at offset {offset}"
        case NodeReported(node=node, state=state, attempt=attempt, error=error):
            words = " ".join(error.split()) if error else ""
            tail = f", attempt {attempt} failed: {words}" if words else ""
            return f"node {node}: {state}{tail}"


def _size(count: int) -> str:
    if count < 1e6:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
