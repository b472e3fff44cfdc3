"""``headrace retire``: take a model version out of service."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli.options import (
    DEFAULT_BOOTSTRAP_SERVERS,
    AsJson,
    BootstrapServers,
    NoCreateTopics,
    SigningKeyFile,
    Timeout,
    TrustedKeysFile,
)

if TYPE_CHECKING:
    from headrace.publisher.events import Retired
    from headrace.publisher.models import ModelPublisher

_Wait = Annotated[
    Literal["fleet"] | None,
    typer.Option("--wait", help="Return once no live node holds the version any more."),
]
_Force = Annotated[
    bool, typer.Option("--force", help="Also what a label, a policy or a split still names.")
]


def retire(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[int, typer.Argument(help="The version's number.")],
    *,
    force: _Force = False,
    wait: _Wait = None,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Take a version out of service on every node.

    Requests in flight are finished first. Publishing the same model again brings it back.
    """
    from headrace.cli.outcome import outcome, run
    from headrace.cli.publish_progress import shown
    from headrace.cli.publishing import model_publisher

    async def work(publisher: ModelPublisher) -> Retired:
        with shown() as on_progress:
            return await publisher.retire(
                model, version, force=force, wait=wait, timeout=timeout, on_progress=on_progress
            )

    with outcome():
        publisher = model_publisher(
            bootstrap_servers,
            create_topics=not no_create_topics,
            signing_key=signing_key,
            trusted_keys=trusted_keys,
        )
    retired = run(work(publisher))
    if as_json:
        typer.echo(json.dumps(asdict(retired)))
        return
    released = f", released by {', '.join(retired.released_by)}" if retired.released_by else ""
    typer.echo(
        f"retired {retired.model} version {retired.version} "
        f"at offset {retired.control_offset}{released}"
    )
