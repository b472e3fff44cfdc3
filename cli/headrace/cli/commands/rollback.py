"""``headrace rollback``: serve again what was served before."""

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
    from headrace.publisher.rollback import Step

_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done; write nothing.")
]


def rollback(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    wait: WaitFleet = None,
    dry_run: _DryRun = False,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Serve again what was served before: its versions, labels and split, by one event.

    Again: what was served before that. What cannot be served any more is passed over, and said.
    Versions that are published later are then not served until `headrace unpin MODEL`.
    """
    from headrace.cli.outcome import run
    from headrace.cli.publish_progress import shown
    from headrace.cli.rollout_view import open_publisher, show

    async def work(publisher: ModelPublisher) -> Configured | Step:
        if dry_run:
            return await publisher.preview_rollback(model)
        with shown() as on_progress:
            return await publisher.rollback(
                model, wait=wait, timeout=timeout, on_progress=on_progress
            )

    publisher = open_publisher(
        bootstrap_servers,
        create_topics=not no_create_topics,
        signing_key=signing_key,
        trusted_keys=trusted_keys,
    )
    show(run(work(publisher)), as_json=as_json)
