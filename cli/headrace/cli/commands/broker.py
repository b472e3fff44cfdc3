"""``headrace broker``: run a Kafka on this machine until told to stop."""

from pathlib import Path
from typing import Annotated

import typer

_Port = Annotated[
    int,
    typer.Option(min=0, max=65535, help="Port of localhost to listen on; 0 picks a free one."),
]
_DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps topics and records between runs. "
        "Without it they are temporary and removed at the end."
    ),
]


def broker(port: _Port = 9092, data_dir: _DataDir = None) -> None:
    """Run a real Apache Kafka on this machine, for laptops and tests.

    When it answers it prints one line, and nothing else, on standard output:
    `broker.ready bootstrap_servers=localhost:PORT`

    Ctrl-C or SIGTERM stops it with exit code 0. It never outlives this command.

    It needs Java 17 or newer, and Maven on the first run to fetch Kafka's
    jars (about 45 MB, kept in your cache folder). To use jars that you have,
    set HEADRACE_KAFKA_LIBS to the libs folder of a Kafka release.

    In production, run a Kafka cluster and point --bootstrap-servers at it.
    """
    from headrace.cli.broker.foreground import run_in_foreground

    raise typer.Exit(run_in_foreground(port, data_dir))
