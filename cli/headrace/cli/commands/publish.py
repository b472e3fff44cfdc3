"""``headrace publish``: put a model version on the log, and wait for the fleet if asked to."""

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
    Store,
    Timeout,
    TrustedKeysFile,
)

if TYPE_CHECKING:
    from headrace.publisher.events import Published
    from headrace.publisher.models import ModelPublisher

_Version = Annotated[
    int | None,
    typer.Option("--version", metavar="N", help="Default: one more than the last published."),
]
_Wait = Annotated[
    Literal["any", "fleet"] | None,
    typer.Option("--wait", help="Return once one live node serves the version, or all do."),
]
_Platform = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="NAME",
        help="What loads it: tensorflow, onnx, python or another. Default: what its files say.",
    ),
]
_Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="Free text to go with the version."),
]

_Examples = Annotated[
    str | None,
    typer.Option(
        "--examples",
        metavar="FILE",
        help="Ask the version these requests first, one JSON object a line: "
        '{"inputs": {…}, "outputs": {…}}. Needs headrace\\[serving].',
    ),
]
_Tolerances = Annotated[
    list[str] | None,
    typer.Option(
        "--tolerance",
        metavar="[OUTPUT=]ABS[,REL]",
        help="With --examples: how far numbers may be off, absolutely and relatively; of one "
        "output, or of all others. Default: 0.",
    ),
]
_AllowIncompatible = Annotated[
    bool,
    typer.Option(
        "--allow-incompatible",
        help="Publish it also when callers of the version that is serving cannot call it.",
    ),
]
_ValidationTimeout = Annotated[
    float,
    typer.Option(
        "--validation-timeout",
        min=0.1,
        metavar="SECONDS",
        help="With --examples: for loading the version and asking it.",
    ),
]


def publish(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    path: Annotated[str, typer.Argument(help="The folder of the model.")],
    *,
    version: _Version = None,
    platform: _Platform = None,
    wait: _Wait = None,
    timeout: Timeout = 60.0,
    store: Store = None,
    metadata: _Metadata = None,
    examples: _Examples = None,
    tolerance: _Tolerances = None,
    allow_incompatible: _AllowIncompatible = False,
    validation_timeout: _ValidationTimeout = 300.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Publish a model version: check it, store its files, put the event on the log.

    A version number always means the same bytes: the same model may be published again under it,
    another one is refused. So is a version that callers of the one that is serving cannot call,
    and with `--examples` one that does not answer them as it should.
    """
    from headrace.cli.outcome import outcome, run
    from headrace.cli.publish_progress import shown
    from headrace.cli.publishing import model_publisher
    from headrace.cli.tolerances import parse_tolerances

    texts = _texts(metadata or [])
    tolerances = parse_tolerances(tolerance or [])

    async def work(publisher: ModelPublisher) -> Published:
        with shown() as on_progress:
            return await publisher.publish(
                model,
                version,
                path,
                platform=platform,
                wait=wait,
                timeout=timeout,
                metadata=texts,
                examples=examples,
                tolerances=tolerances,
                allow_incompatible=allow_incompatible,
                validation_timeout=validation_timeout,
                on_progress=on_progress,
            )

    with outcome():
        publisher = model_publisher(
            bootstrap_servers,
            store=store,
            create_topics=not no_create_topics,
            signing_key=signing_key,
            trusted_keys=trusted_keys,
        )
    _show(run(work(publisher)), as_json=as_json)


def _texts(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--metadata")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _show(published: Published, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(published)))
        return
    from headrace.cli.log_view import validation_words

    checked = validation_words(published.validation)
    served = f", served by {', '.join(published.served_by)}" if published.served_by else ""
    typer.echo(
        f"published {published.model} version {published.version} "
        f"at offset {published.control_offset}{f', {checked}' if checked else ''}{served}"
    )
