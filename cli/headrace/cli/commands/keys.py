"""``headrace keys``: make the keys that sign events, and look at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import (
    DEFAULT_BOOTSTRAP_SERVERS,
    SIGNING_KEY_ENV,
    AsJson,
    BootstrapServers,
    SigningKeyFile,
    Timeout,
    TrustedKeysFile,
)

if TYPE_CHECKING:
    from headrace.publisher.trusted_keys import TrustedKey

keys = typer.Typer(
    name="keys",
    help="Make the keys that sign events, look at them, and sign the log anew.\n\n"
    "Publishers sign with a private key (`--signing-key`). Nodes have a file of public keys "
    "(`--trusted-keys`): with it they take no event that is not signed by one of them, for a model "
    "that the key may sign for.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_DEFAULT_FILE = Path("headrace-signing-key.pem")
_Name = Annotated[str, typer.Option("--name", help="What people call the key.")]
_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        metavar="GLOB",
        help="Models that it may sign for, such as `ranker*`; may be given again.",
    ),
]


@keys.command()
def generate(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the private key goes.")
    ] = _DEFAULT_FILE,
    name: _Name = "",
    models: _Models = None,
) -> None:
    """Make a key: the private part goes to a file that only you may read, the public to the nodes.

    Prints the table that makes nodes trust the key; put it into their file of trusted keys. Without
    `--models` the key may sign for every model. A file that exists is never overwritten.
    """
    from headrace.cli.outcome import outcome
    from headrace.publisher.key_files import write_private_key
    from headrace.publisher.signing import SigningKey
    from headrace.publisher.trusted_keys import TrustedKey

    with outcome():
        key = SigningKey.generate()
        trusted = TrustedKey(key.public, tuple(models or ["*"]), name)
        write_private_key(out, key.to_pem())
    typer.echo(trusted.to_toml())
    typer.echo(
        f"private key in {out}: sign with --signing-key or {SIGNING_KEY_ENV}; put the table above "
        "into the file that nodes get by --trusted-keys",
        err=True,
    )


@keys.command()
def show(
    file: Annotated[
        Path, typer.Argument(help="A private key, a public key, or a file of trusted keys.")
    ],
    name: _Name = "",
    models: _Models = None,
    as_json: AsJson = False,
) -> None:
    """Show a key's id, its public part and its models; never what is secret.

    What is printed of a private or public key is the table for a file of trusted keys, with the
    models that `--models` names.
    """
    from headrace.cli.outcome import outcome
    from headrace.publisher.trusted_keys import read_keys

    with outcome():
        found = read_keys(file, name=name, models=tuple(models or ()))
    if as_json:
        typer.echo(json.dumps([_shown(key) for key in found]))
        return
    typer.echo("\n\n".join(key.to_toml() for key in found))


@keys.command()
def resign(
    model: Annotated[
        str | None, typer.Argument(help="The model's name. Default: every model.")
    ] = None,
    *,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
    timeout: Timeout = 60.0,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Write what the log says once more, signed by this key; what is served stays the same.

    Before nodes get their first trusted keys, so that they find signed what they serve; and before
    a key is taken away from them, so that nothing hangs on it. With `--trusted-keys`, only what
    these keys have signed is signed anew. Without, everything is, whoever wrote it: look through
    `headrace history` first.
    """
    from headrace.cli.outcome import fail, outcome, run
    from headrace.cli.publishing import model_publisher

    with outcome():
        publisher = model_publisher(
            bootstrap_servers,
            create_topics=False,
            signing_key=signing_key,
            trusted_keys=trusted_keys,
        )
    if publisher.security.signing_key is None:
        fail(f"nothing to sign with: give --signing-key or {SIGNING_KEY_ENV}")
    signed = run(publisher.resign(model, timeout=timeout))
    if as_json:
        typer.echo(json.dumps({"signed": signed}))
        return
    for key in signed:
        typer.echo(f"signed {key}")


def _shown(key: TrustedKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name or None,
        "public": key.public_text,
        "models": list(key.models),
    }
