"""Tells how a replay gets on: a bar on a terminal, plain lines elsewhere, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from headrace.consumer.stream.replay_job import ReplayJob
from headrace.consumer.stream.replaying import Tally

_LINE_INTERVAL_SECONDS: Final = 5.0

Say = Callable[[str], None]
Advance = Callable[[int, int, str], None]


class Telling:
    """Says what happens; a `consumer.replay.Watch`.

    **Concurrency:** called on the event loop only.
    """

    def __init__(self, job: str, say: Say, advance: Advance) -> None:
        self._job = job
        self._say = say
        self._advance = advance

    def begun(self, job: ReplayJob) -> None:
        """Say what is to be done."""
        offsets = sum(span.end - span.start for span in job.spans.values())
        if job.is_resumed:
            self._say(f"job {self._job} goes on in the range that it was begun with")
        else:
            self._say(f"job {self._job}: if it is stopped, it goes on with --job {self._job}")
        spans = [
            f"{partition.partition}:{span.start}-{span.end}"
            for partition, span in job.spans.items()
            if span.end > span.start
        ]
        if spans:
            self._say(f"{offsets} offsets in {len(spans)} partitions: {', '.join(spans)}")

    def loaded(self, seconds: float) -> None:
        """Say that the version is there."""
        self._say(f"version loaded in {seconds:.1f} s")

    def progressed(self, tally: Tally) -> None:
        """Show what is done."""
        self._advance(tally.done, tally.total, f"answered {tally.answered}")

    def compared(self, done: int, total: int) -> None:
        """Show how much is compared."""
        self._advance(done, total, "compared")


@contextmanager
def telling(job: str) -> Generator[Telling, None, None]:
    """Yield what to tell of a replay's progress."""

    def echo(line: str) -> None:
        typer.echo(line, err=True)

    if not sys.stderr.isatty():
        yield Telling(job, echo, _Lines(echo))
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task("", total=None)

        def say(line: str) -> None:
            bars.console.print(line, highlight=False, markup=False)

        def advance(done: int, total: int, words: str) -> None:
            bars.update(task, completed=done, total=total, description=words)

        yield Telling(job, say, advance)


class _Lines:
    """A line every few seconds.

    **Concurrency:** one task.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said_at = time.monotonic()

    def __call__(self, done: int, total: int, words: str) -> None:
        """Say it if it is time."""
        if time.monotonic() - self._said_at >= _LINE_INTERVAL_SECONDS:
            self._said_at = time.monotonic()
            self._say(f"{words}, {done} of {total} offsets")
