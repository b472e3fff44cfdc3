"""``headrace history``: what the control log says of one model."""

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
    from headrace.cli.log_view import Change

_Model = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
_NOTE = (
    "The log is compacted: of each version and configuration only the last record is sure to stay."
)


def history(
    model: _Model,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    as_json: AsJson = False,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Show every event of a model that is still in the control log, oldest first.

    The log is compacted: an event that a later one of the same version (or of the configuration)
    has overwritten disappears after a while.

    With `--trusted-keys`, also which key has signed each event, and which events nodes that trust
    these keys refuse, and why.

    With `--json`: a list of objects with offset, time, what (published, retired, forgotten,
    configured, rolled back, unreadable, refused), version, details, platform, digest, publisher
    and signed_by.
    """

    async def work() -> list[Change]:
        from headrace.cli.log_view import changes
        from headrace.publisher.configuration import check_name
        from headrace.publisher.connection import KafkaConnection
        from headrace.publisher.event_security import EventSecurity
        from headrace.publisher.gate import Gate
        from headrace.publisher.history import read_control
        from headrace.schemas.topics import Topics

        check_name(model)
        trusted = EventSecurity.of_files(None, trusted_keys).trusted_keys
        entries = await read_control(
            KafkaConnection.from_environment(bootstrap_servers),
            Topics.from_environment(),
            Gate(trusted),
        )
        return changes(entries, model, is_verified=trusted is not None)

    found = run(work())
    if as_json:
        typer.echo(json.dumps([change.as_json() for change in found]))
        return
    if not found:
        typer.echo(f"no events of {model!r} in the control log", err=True)
        return
    from headrace.cli.log_view import render
    from headrace.cli.terminal import console

    console().print(render(found))
    typer.echo(_NOTE, err=True)
