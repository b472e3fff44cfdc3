"""``headrace plan``: what the fleet wants, or wanted at some moment, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import (
    DEFAULT_BOOTSTRAP_SERVERS,
    AsJson,
    BootstrapServers,
    TrustedKeysFile,
)
from headrace.cli.outcome import run

if TYPE_CHECKING:
    from headrace.cli.plan_view import PlanView

_At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="OFFSET|TIME",
        help="As of this control record, or this time: an ISO time, or 30m, 2h, 7d ago. "
        "Default: now.",
        show_default=False,
    ),
]
_Model = Annotated[str | None, typer.Option("--model", help="Only this model.", show_default=False)]


def plan(
    *,
    at: _At = None,
    model: _Model = None,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Show what the control log asks of every node: versions, policy, labels and arms.

    Each line names the record that made it so. With `--at`, as it was then, as far as the log
    still tells: it is compacted, and what later records overwrote disappears after a while. With
    `--trusted-keys`, as nodes that trust these keys see it.

    With `--json`: an object with offset, time, removed_records (how many records up to there are
    gone, of which the answer may need some) and models, each with policy, versions, labels and
    arms, each of these with because (offset, time, publisher).
    """

    async def work() -> PlanView:
        from headrace.cli.plan_view import offset_of, plan_as_of
        from headrace.publisher.configuration import check_name
        from headrace.publisher.connection import KafkaConnection
        from headrace.publisher.event_security import EventSecurity
        from headrace.publisher.gate import Gate
        from headrace.publisher.history import read_control
        from headrace.schemas.topics import Topics

        if model is not None:
            check_name(model)
        entries = await read_control(
            KafkaConnection.from_environment(bootstrap_servers),
            Topics.from_environment(),
            Gate(EventSecurity.of_files(None, trusted_keys).trusted_keys),
        )
        return plan_as_of(entries, None if at is None else offset_of(entries, at), model)

    view = run(work())
    if as_json:
        typer.echo(json.dumps(view.as_json()))
        return
    from headrace.cli.moments import iso
    from headrace.cli.plan_view import render
    from headrace.cli.terminal import console

    if view.models:
        console().print(render(view))
    when = "" if view.timestamp_ms is None else f" of {iso(view.timestamp_ms)}"
    what = f"nothing of {model!r} is wanted" if model and not view.models else "the plan"
    what = "nothing is wanted" if not model and not view.models else what
    typer.echo(f"{what} as of offset {view.offset}{when}", err=True)
    if view.removed:
        typer.echo(
            f"this may be incomplete: {view.removed} records up to there have been compacted away, "
            "and later ones may have overwritten what they said",
            err=True,
        )
