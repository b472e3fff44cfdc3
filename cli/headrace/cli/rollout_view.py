"""What the commands that change what is served share: a publisher, and how to tell the result."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from headrace.cli.outcome import outcome
from headrace.cli.publishing import model_publisher
from headrace.publisher.configuration import policy_words
from headrace.publisher.events import Configured
from headrace.publisher.models import ModelPublisher
from headrace.publisher.rollback import Step, difference
from headrace.schemas.records import Earlier, PolicyKind


def open_publisher(
    bootstrap_servers: str,
    *,
    create_topics: bool,
    signing_key: Path | None = None,
    trusted_keys: Path | None = None,
) -> ModelPublisher:
    """Return a publisher as the environment says; bad settings end the command in words."""
    with outcome():
        return model_publisher(
            bootstrap_servers,
            create_topics=create_topics,
            signing_key=signing_key,
            trusted_keys=trusted_keys,
        )
    raise AssertionError("outcome lets no exception vanish")


def show(done: Configured | Step, *, as_json: bool) -> None:
    """Print from what to what a model went, or would go."""
    written = done if isinstance(done, Configured) else None
    if as_json:
        found = {
            "model": done.config.model,
            "before": _state(done.before),
            "after": _state(done.after),
            "skipped": list(done.skipped),
            "control_offset": written.control_offset if written else None,
            "applied_by": list(written.applied_by) if written else [],
        }
        typer.echo(json.dumps(found))
        return
    for words in done.skipped:
        typer.echo(f"passed over {words}", err=True)
    typer.echo(_line(done))
    if written:
        applied = f", applied by {', '.join(written.applied_by)}" if written.applied_by else ""
        typer.echo(f"written at offset {written.control_offset}{applied}")
    else:
        typer.echo("nothing was written (--dry-run)")


def _line(done: Configured | Step) -> str:
    config, before, after = done.config, policy_words(done.before.policy), done.after.policy
    line = f"{config.model}: {difference(done.before, done.after)}"
    if policy_words(after) != before:
        line += f"; policy {before} → {policy_words(after)}"
    if after.kind is PolicyKind.SPECIFIC:
        line += f"; new versions are not served until headrace unpin {config.model}"
    return line


def _state(one: Earlier) -> dict[str, object]:
    return {
        "versions": list(one.versions),
        "policy": policy_words(one.policy),
        "labels": dict(one.labels),
        "split": dict(one.split),
    }
