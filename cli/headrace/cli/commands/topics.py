"""``headrace topics``: make the topics of a deployment, and see whether they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import DEFAULT_BOOTSTRAP_SERVERS, AsJson, BootstrapServers
from headrace.cli.outcome import run

if TYPE_CHECKING:
    from rich.table import Table

    from headrace.cli.topic_audit import TopicFinding

topics = typer.Typer(
    name="topics",
    help="Create the Kafka topics of a deployment, or look whether they are right.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Partitions = Annotated[
    int,
    typer.Option(min=1, max=10_000, help="Partitions of the request and of the answer topic."),
]
_Replicas = Annotated[
    int | None,
    typer.Option(
        min=1, max=32_767, help="Copies of each topic. Default: 3, or one per broker if fewer."
    ),
]


@topics.command()
def create(
    partitions: _Partitions = 8,
    replication_factor: _Replicas = None,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    as_json: AsJson = False,
) -> None:
    """Create the topics that do not exist yet, with the settings that they need.

    `serve`, `publish` and `quickstart` do the same by themselves, unless told not to. Topics that
    exist are left as they are.
    """
    import json
    from dataclasses import replace

    from headrace.publisher.connection import KafkaConnection
    from headrace.publisher.topics import ensure_topics
    from headrace.schemas.topics import Topics, specs

    wanted = specs(Topics.from_environment(), request_partitions=partitions)
    if replication_factor is not None:
        wanted = [replace(spec, replication_factor=replication_factor) for spec in wanted]

    async def work() -> list[str]:
        return await ensure_topics(KafkaConnection.from_environment(bootstrap_servers), wanted)

    created = run(work())
    if as_json:
        typer.echo(json.dumps({"created": created}))
        return
    for spec in wanted:
        typer.echo(f"{spec.name}: {'created' if spec.name in created else 'exists'}")


@topics.command("list")
def list_topics(
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS, as_json: AsJson = False
) -> None:
    """Show the topics that exist, and what about them is not as it should be."""
    import json
    from dataclasses import asdict

    from headrace.cli.terminal import console
    from headrace.cli.topic_audit import audit
    from headrace.publisher.connection import KafkaConnection
    from headrace.schemas.topics import Topics, specs

    async def work() -> list[TopicFinding]:
        return await audit(
            KafkaConnection.from_environment(bootstrap_servers), specs(Topics.from_environment())
        )

    findings = run(work())
    if as_json:
        rows = [asdict(found) | {"is_right": not found.faults} for found in findings]
        typer.echo(json.dumps(rows))
        return
    console().print(_table(findings))


def _table(findings: list[TopicFinding]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("topic", "partitions", "copies", "", box=None, pad_edge=False)
    for found in findings:
        words = Text("; ".join(found.faults), style="red") if found.faults else Text("right")
        shown = (str(found.partitions), str(found.replication_factor)) if found.exists else ("", "")
        table.add_row(found.name, *shown, words)
    return table
