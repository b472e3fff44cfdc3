"""``headrace pin`` and ``headrace unpin``: hold on to versions whatever is published, or let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import (
    DEFAULT_BOOTSTRAP_SERVERS,
    AsJson,
    BootstrapServers,
    NoCreateTopics,
    SigningKeyFile,
    Timeout,
    TrustedKeysFile,
    WaitFleet,
)

if TYPE_CHECKING:
    from headrace.publisher.events import Configured
    from headrace.publisher.models import ModelPublisher

_Model = Annotated[str, typer.Argument(help="The model's name.")]


def pin(
    model: _Model,
    versions: Annotated[
        list[int] | None,
        typer.Argument(help="The versions to serve. Default: those that are wanted now."),
    ] = None,
    *,
    off: Annotated[bool, typer.Option("--off", help="The same as headrace unpin.")] = False,
    wait: WaitFleet = None,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Serve these versions and no others, whatever is published, until `headrace unpin`."""
    from headrace.cli.outcome import run
    from headrace.cli.publish_progress import shown
    from headrace.cli.rollout_view import open_publisher, show

    if off and versions:
        raise typer.BadParameter("takes no versions", param_hint="--off")

    async def work(publisher: ModelPublisher) -> Configured:
        with shown() as on_progress:
            if off:
                return await publisher.unpin(
                    model, wait=wait, timeout=timeout, on_progress=on_progress
                )
            return await publisher.pin(
                model, versions or (), wait=wait, timeout=timeout, on_progress=on_progress
            )

    publisher = open_publisher(
        bootstrap_servers,
        create_topics=not no_create_topics,
        signing_key=signing_key,
        trusted_keys=trusted_keys,
    )
    show(run(work(publisher)), as_json=as_json)


def unpin(
    model: _Model,
    *,
    wait: WaitFleet = None,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Follow the policy from before a pin or a rollback again, else serve the latest version."""
    pin(
        model,
        off=True,
        wait=wait,
        timeout=timeout,
        as_json=as_json,
        bootstrap_servers=bootstrap_servers,
        no_create_topics=no_create_topics,
        signing_key=signing_key,
        trusted_keys=trusted_keys,
    )
