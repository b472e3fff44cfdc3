"""`headrace serve`: run a serving node. Its flags are the node's settings, defined there."""

from __future__ import annotations

from typing import Any

import typer

# Everything after `serve`, --help included, is the node's to understand.
CONTEXT: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def serve(context: typer.Context) -> None:
    """Run a serving node until SIGTERM or Ctrl-C (`headrace serve --help` lists its settings)."""
    from headrace.consumer.__main__ import main

    raise typer.Exit(main(context.args))
