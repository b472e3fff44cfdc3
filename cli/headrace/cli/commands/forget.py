"""``headrace forget``: remove a version, or a whole model, from the log."""

from __future__ import annotations

import json
from typing import Annotated

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

_Force = Annotated[
    bool,
    typer.Option("--force", help="Also forget what is still published; nodes then unload it."),
]


def forget(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[
        int | None, typer.Argument(help="The version's number. Default: the whole model.")
    ] = None,
    *,
    force: _Force = False,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Remove a retired version, or a whole model with its configuration, from the log.

    Its numbers are then free for other bytes. The files in the artefact store stay.
    """
    from headrace.cli.outcome import outcome, run
    from headrace.cli.publishing import model_publisher

    with outcome():
        publisher = model_publisher(
            bootstrap_servers,
            create_topics=not no_create_topics,
            signing_key=signing_key,
            trusted_keys=trusted_keys,
        )
    forgotten = run(publisher.forget(model, version, force=force, timeout=timeout))
    if as_json:
        told = {"forgotten": forgotten.keys, "control_offset": forgotten.control_offset}
        typer.echo(json.dumps(told))
        return
    for key in forgotten.keys:
        typer.echo(f"forgot {key}")
