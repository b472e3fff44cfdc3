"""Continuous training as a process: `python -m headrace.cli.quickstart.trainer`.

Trains the digits model a little more each round, exports it and publishes it, as any training
pipeline would, through the publisher; tells what it did in JSON lines on standard output. It never
talks to a node: the fleet's answer comes back over the log.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from headrace.cli.quickstart import digits, messages
from headrace.cli.quickstart.classifier import Classifier
from headrace.cli.quickstart.messages import Failed, Message, Serving, Trained
from headrace.publisher import SyncModelPublisher
from headrace.publisher.connection import DEFAULT_BOOTSTRAP_SERVERS, KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.publisher.progress import Appended, Progress
from headrace.schemas.topics import Topics

_FIRST_STEPS: Final = 6
_GROWTH: Final = 4
_MAX_NEW_STEPS: Final = 500


class Pace(StrEnum):
    """What starts the next publication: the clock, or a line on standard input."""

    CLOCK = "clock"
    STDIN = "stdin"


_Bootstrap = Annotated[
    str, typer.Option(envvar="HEADRACE_BOOTSTRAP_SERVERS", help="Kafka brokers to begin with.")
]
_Store = Annotated[
    str | None,
    typer.Option(envvar="HEADRACE_STORE", help="Folder or URI that keeps published models."),
]
_Model = Annotated[str, typer.Option(help="Name to publish under.")]
_Versions = Annotated[int, typer.Option(min=0, help="Versions to publish; 0 never stops.")]
_Interval = Annotated[
    float, typer.Option(min=0, help="Seconds between two publications, by the clock.")
]
_Timeout = Annotated[float, typer.Option(min=1, help="Seconds for the fleet to serve a version.")]
_Pace = Annotated[
    Pace, typer.Option(help="Publish by the clock, or at each line on standard input.")
]


def steps_at(round_number: int) -> int:
    """Return the training steps behind a round: few at first, so that one sees it learn."""
    steps = _FIRST_STEPS
    for _ in range(round_number - 1):
        steps += min(steps * (_GROWTH - 1), _MAX_NEW_STEPS)
    return steps


def train(
    *,
    bootstrap_servers: _Bootstrap = DEFAULT_BOOTSTRAP_SERVERS,
    model: _Model = "digits",
    versions: _Versions = 0,
    interval: _Interval = 60.0,
    timeout: _Timeout = 120.0,
    pace: _Pace = Pace.CLOCK,
    store: _Store = None,
) -> None:
    """Train a model on handwritten digits for ever, and publish every round as a new version."""
    training, held_out = digits.load()
    classifier = Classifier(training)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="headrace-trainer-") as folder,
            SyncModelPublisher(
                KafkaConnection.from_environment(bootstrap_servers),
                store=store,
                publisher_name=f"trainer@{os.uname().nodename}",
                topics=Topics.from_environment(),
            ) as publisher,
        ):
            round_number = 1
            while versions == 0 or round_number <= versions:
                classifier.train_to(steps_at(round_number))
                _tell(_trained(classifier, round_number, held_out))
                export = Path(folder) / str(round_number)
                classifier.export(export)
                if not _wait_turn(pace, 0.0 if round_number == 1 else interval):
                    return
                _tell(_publish(publisher, model, export, timeout))
                round_number += 1
    except PublisherError as error:
        _tell(Failed(reason=str(error)))
        sys.exit(1)


def _trained(classifier: Classifier, round_number: int, held_out: digits.Digits) -> Trained:
    return Trained(
        round=round_number, steps=classifier.steps, accuracy=classifier.accuracy(held_out)
    )


def _wait_turn(pace: Pace, interval: float) -> bool:
    """Return when the next version is due; False when nobody wants one any more."""
    if pace is Pace.STDIN:
        return bool(sys.stdin.readline())
    time.sleep(interval)
    return True


def _publish(publisher: SyncModelPublisher, model: str, export: Path, timeout: float) -> Serving:
    appended_at = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal appended_at
        if isinstance(progress, Appended):
            appended_at = time.monotonic()

    published = publisher.publish(
        model, None, export, wait="fleet", timeout=timeout, on_progress=on_progress
    )
    return Serving(
        version=published.version,
        control_offset=published.control_offset,
        event_to_serving_seconds=time.monotonic() - appended_at,
        nodes=tuple(published.served_by),
    )


def _tell(message: Message) -> None:
    sys.stdout.buffer.write(messages.encode(message))
    sys.stdout.buffer.flush()


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(train)

if __name__ == "__main__":
    app()
