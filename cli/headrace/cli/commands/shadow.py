"""``headrace shadow``: what became of mirrored requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import DEFAULT_BOOTSTRAP_SERVERS, AsJson, BootstrapServers
from headrace.cli.outcome import run

if TYPE_CHECKING:
    from headrace.publisher.shadow_report import ShadowReport

shadow = typer.Typer(
    name="shadow",
    help="Look at how the answers of shadows compare.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Model = Annotated[
    str,
    typer.Argument(help="The model, or alias, whose requests are mirrored.", show_default=False),
]
_Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="2h ago, or an ISO time (default: all)."),
]


@shadow.callback()
def about() -> None:
    """Look at how the answers of shadows compare (headrace config MODEL --shadow TARGET)."""


@shadow.command()
def report(
    model: _Model,
    since: _Since = None,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Sum up how a model's answers compare with its shadow's: agreement, latency, errors.

    By version that answered and version that was asked, too. Agreement is the share of requests
    whose answers are the same within the tolerances, of those that could be compared.
    """

    async def work() -> ShadowReport:
        from headrace.cli.moments import parse_moment
        from headrace.cli.terminal import counting
        from headrace.publisher.connection import KafkaConnection
        from headrace.publisher.shadow_report import read_shadow_report
        from headrace.schemas.topics import Topics

        since_ms = None if since is None else parse_moment("--since", since)
        with counting("comparisons") as tick:
            return await read_shadow_report(
                KafkaConnection.from_environment(bootstrap_servers),
                model,
                Topics.from_environment(),
                since_ms=since_ms,
                tick=tick,
            )

    found = run(work())
    from headrace.cli.shadow_view import as_object, render
    from headrace.cli.terminal import console

    if as_json:
        typer.echo(json.dumps(as_object(found)))
        return
    if not found.pairs:
        typer.echo(f"no comparisons of {model!r} on the shadow topic", err=True)
        return
    for part in render(found):
        console().print(part)
