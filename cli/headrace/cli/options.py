"""The options that several commands share, each with its environment variable."""

from pathlib import Path
from typing import Annotated, Literal

import typer

BOOTSTRAP_SERVERS_ENV = "HEADRACE_BOOTSTRAP_SERVERS"
STORE_ENV = "HEADRACE_STORE"
CLAIM_STORE_ENV = "HEADRACE_CLAIM_STORE"
SIGNING_KEY_ENV = "HEADRACE_SIGNING_KEY"
TRUSTED_KEYS_ENV = "HEADRACE_TRUSTED_KEYS"
DEFAULT_BOOTSTRAP_SERVERS = "localhost:9092"

BootstrapServers = Annotated[
    str,
    typer.Option(
        "--bootstrap-servers",
        envvar=BOOTSTRAP_SERVERS_ENV,
        metavar="HOST:PORT[,…]",
        help="Where Kafka is. Variables HEADRACE_KAFKA_… set TLS and login, as for the nodes.",
    ),
]
NoCreateTopics = Annotated[
    bool,
    typer.Option("--no-create-topics", help="Do not create topics that are missing."),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=0.001, metavar="SECONDS", help="How long to wait at most."),
]
WaitFleet = Annotated[
    Literal["fleet"] | None,
    typer.Option(
        "--wait", help="Return once every live node follows and serves all that is wanted."
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar=STORE_ENV,
        metavar="URI",
        help="Where model files go, for the nodes to fetch: a folder, or a URI such as "
        "s3://bucket/models. Default: a folder of this user on this machine.",
    ),
]
ClaimStore = Annotated[
    str | None,
    typer.Option(
        "--claim-store",
        envvar=CLAIM_STORE_ENV,
        metavar="URI",
        help="Over Kafka: where a request goes that is too large for its topic, a folder or URI "
        "that the nodes have among their claim stores.",
    ),
]
SigningKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--signing-key",
        envvar=SIGNING_KEY_ENV,
        metavar="FILE",
        help="Sign the event with this key, as `headrace keys generate` makes them.",
    ),
]
TrustedKeysFile = Annotated[
    Path | None,
    typer.Option(
        "--trusted-keys",
        envvar=TRUSTED_KEYS_ENV,
        metavar="FILE",
        help="Believe only what these keys have signed: the file that the nodes have.",
    ),
]
