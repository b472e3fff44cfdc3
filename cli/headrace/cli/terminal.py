"""Where results go: standard output, as wide as the terminal, or as wide as needed in a pipe."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console

# A table that is cut to 80 columns is of no use to grep.
_PIPE_COLUMNS: Final = 400


def console() -> Console:
    """Return a console on standard output."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)
