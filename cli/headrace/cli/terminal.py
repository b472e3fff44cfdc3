"""Where results go: standard output, as wide as the terminal, or as wide as needed in a pipe.

What is said on the way goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

# A table that is cut to 80 columns is of no use to grep.
_PIPE_COLUMNS: Final = 400


def console() -> Console:
    """Return a console on standard output."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)


@contextmanager
def counting(what: str) -> Generator[Callable[[int, int], None], None, None]:
    """Yield what to tell how much is done of how much; a terminal shows it as a bar."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
