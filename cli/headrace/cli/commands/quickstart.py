"""``headrace quickstart``: all of Headrace on this machine, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import extras

_Versions = Annotated[int, typer.Option(min=1, max=50, help="How many versions to publish.")]
_Duration = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="The least time that each version is asked (and every digit by both doors).",
    ),
]
_KeepRunning = Annotated[
    bool,
    typer.Option("--keep-running", help="Leave broker and node up afterwards, until Ctrl-C."),
]
_DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder for broker data, models and logs, kept for the next run. "
        "Without it they are temporary (after a failure the logs stay)."
    ),
]


def quickstart(
    versions: _Versions = 4,
    duration: _Duration = 3.0,
    keep_running: _KeepRunning = False,
    data_dir: _DataDir = None,
) -> None:
    """See it work: a broker, a node, continuous training and two clients, all real.

    Trains a small network on handwritten digits, a little more each round, and publishes every
    round as a new version, while a gRPC client and a Kafka client ask for held-out digits without
    pause. Shows how long each version took from its event to serving, and how many digits it reads
    right, counted from the answers themselves.

    Ends by itself with `quickstart ok: …` on standard output and exit code 0; with a failed or
    missing answer it ends with `quickstart failed: …` on standard error and exit code 1.
    """
    extras.require("quickstart")
    from headrace.cli.quickstart.show import Pace
    from headrace.cli.quickstart.stage import StageOptions, run

    pace = Pace(versions=versions, seconds_per_version=duration)
    raise typer.Exit(run(StageOptions(pace=pace, data_dir=data_dir, keep_running=keep_running)))
