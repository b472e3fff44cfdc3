"""The program ``headrace``: its commands, put together, and what happens when one goes wrong.

Owns the order of the help page, the exit codes and the last line of defence. Every command imports
what it needs inside its function, so that the help page, and publishing on the light install, load
nothing heavy.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, cast

import typer

from headrace.cli import extras
from headrace.cli.commands.broker import broker
from headrace.cli.commands.config import config
from headrace.cli.commands.dead_letters import dead_letters
from headrace.cli.commands.forget import forget
from headrace.cli.commands.history import history
from headrace.cli.commands.keys import keys
from headrace.cli.commands.models import models
from headrace.cli.commands.pin import pin, unpin
from headrace.cli.commands.plan import plan
from headrace.cli.commands.predict import predict
from headrace.cli.commands.publish import publish
from headrace.cli.commands.quickstart import quickstart
from headrace.cli.commands.replay import replay
from headrace.cli.commands.retire import retire
from headrace.cli.commands.rollback import rollback
from headrace.cli.commands.serve import CONTEXT as SERVE_CONTEXT
from headrace.cli.commands.serve import serve
from headrace.cli.commands.shadow import shadow
from headrace.cli.commands.topics import topics

DEBUG_VARIABLE = "HEADRACE_DEBUG"

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


_Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
]


@app.callback()
def headrace(_version: _Version = False) -> None:
    """Serve models that change all the time.

    Training publishes versions as events on a Kafka log; every node serves what the log says, and
    answers over Kafka and gRPC. `headrace quickstart` shows all of it on this machine.

    Exit codes: 0 done, 1 refused or failed (one line on standard error says why), 2 wrong usage.
    """


app.command(rich_help_panel="Try")(quickstart)
app.command(rich_help_panel="Try")(predict)
app.command(rich_help_panel="Serve", add_help_option=False, context_settings=SERVE_CONTEXT)(serve)
app.command(rich_help_panel="Serve")(broker)
app.add_typer(topics, rich_help_panel="Serve")
app.command(rich_help_panel="Publish")(publish)
app.command(rich_help_panel="Publish")(retire)
app.command(rich_help_panel="Publish")(config)
app.command(rich_help_panel="Publish")(rollback)
app.command(rich_help_panel="Publish")(pin)
app.command(rich_help_panel="Publish")(unpin)
app.command(rich_help_panel="Publish")(forget)
app.add_typer(keys, rich_help_panel="Publish")
app.command(rich_help_panel="Look")(models)
app.command(rich_help_panel="Look")(history)
app.command(rich_help_panel="Look")(plan)
app.add_typer(dead_letters, rich_help_panel="Look")
app.add_typer(shadow, rich_help_panel="Look")
app.command(rich_help_panel="Look")(replay)


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        app()
    except Exception as error:  # door: nobody sees a traceback without asking for it
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        typer.echo(f"headrace{_command(sys.argv[1:])} {_in_words(_first(error))}", err=True)
        sys.exit(1)


def _command(arguments: list[str]) -> str:
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    return f" {named}" if named else ""


def _first(error: BaseException) -> BaseException:
    """Return the first leaf of an exception group: with one cause or several, one line."""
    while isinstance(error, BaseExceptionGroup):
        nested = cast("BaseExceptionGroup[BaseException]", error)
        error = nested.exceptions[0]
    return error


def _in_words(error: BaseException) -> str:
    missing = extras.that_brings(error)
    if missing:
        return extras.needed(missing)
    words = " ".join(str(error).split())
    return (
        f"failed unexpectedly: {type(error).__name__}{f': {words}' if words else ''} "
        f"(with {DEBUG_VARIABLE}=1 it shows where)"
    )
