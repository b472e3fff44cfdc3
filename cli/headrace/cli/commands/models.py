"""``headrace models``: what every node serves."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.options import DEFAULT_BOOTSTRAP_SERVERS, AsJson, BootstrapServers
from headrace.cli.outcome import run

_Model = Annotated[str | None, typer.Argument(help="Only this model.", show_default=False)]
_Watch = Annotated[
    bool,
    typer.Option("--watch", help="Follow the changes until Ctrl-C; with --json, one list a line."),
]
_All = Annotated[
    bool, typer.Option("--all", help="Also published versions that no node speaks of.")
]


def models(
    model: _Model = None,
    watch: _Watch = False,
    with_idle: _All = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    as_json: AsJson = False,
) -> None:
    """Show which versions every node serves, is loading, or could not load.

    A node that has been silent for 3.5 heartbeats counts as lost; what it said last stays listed.

    With `--json`: a list of objects with model, version, state (null when no node speaks of the
    version), node, error, control_offset (of the event that brought the version), node_is_live.
    """

    async def work() -> None:
        from headrace.cli.fleet_report import FleetReport
        from headrace.publisher.connection import KafkaConnection

        report = FleetReport(
            connection=KafkaConnection.from_environment(bootstrap_servers),
            model=model,
            with_idle=with_idle,
            as_json=as_json,
        )
        await (report.follow() if watch else report.once())

    run(work())
