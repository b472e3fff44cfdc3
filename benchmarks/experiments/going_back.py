"""The ways to go back to the version before, each in one place.

`good` and `bad` are versions 1 and 2 of the model; what is asked by label asks for `stable`.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.children import running_program
from headrace.publisher.configuration import ConfigChange
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.history import read_control
from headrace.publisher.models import ModelPublisher
from headrace.schemas.records import PolicyKind, VersionPolicy
from headrace.schemas.topics import Topics

MODEL: Final = "digits"
LABEL: Final = "stable"
GOOD: Final = 1
BAD: Final = 2
LIBRARY: Final = "library"
PROGRAM: Final = "headrace"
ROLLBACK: Final = "rollback"
LABEL_MOVE: Final = "label move"

GoBack = Callable[[], Awaitable[int]]
"""Goes back, and returns a control offset by which that is done."""


def ways(
    connection: KafkaConnection, publisher: ModelPublisher, folder: Path
) -> dict[tuple[str, str], GoBack]:
    """Return the ways to go back, by what is done and by what does it."""

    async def roll_back() -> int:
        return (await publisher.rollback(MODEL)).control_offset

    async def move_label() -> int:
        change = ConfigChange(model=MODEL, labels={LABEL: GOOD})
        return (await publisher.configure(change)).control_offset

    def program(*arguments: str) -> GoBack:
        async def run() -> int:
            await _run([*arguments, "--bootstrap-servers", connection.bootstrap_servers], folder)
            return (await read_control(connection, Topics()))[-1].offset

        return run

    return {
        (ROLLBACK, LIBRARY): roll_back,
        (ROLLBACK, PROGRAM): program("rollback", MODEL),
        (LABEL_MOVE, LIBRARY): move_label,
        (LABEL_MOVE, PROGRAM): program("config", MODEL, "--label", f"{LABEL}={GOOD}"),
    }


async def _run(arguments: Sequence[str], folder: Path) -> None:
    command = [sys.executable, "-m", "headrace.cli", *arguments]
    async with running_program(PROGRAM, command, folder) as child:
        await child.finish()


def beginning(done: str) -> ConfigChange:
    """Return what brings the good version, before anything else has been."""
    if done == ROLLBACK:
        policy = VersionPolicy(kind=PolicyKind.SPECIFIC, versions=[GOOD])
        return ConfigChange(model=MODEL, policy=policy)
    return ConfigChange(model=MODEL, policy=VersionPolicy(), labels={LABEL: GOOD})


def forward(done: str, *, keeps: bool) -> ConfigChange:
    """Return what brings the bad version.

    With `keeps`, both versions serve all the while, so that going back loads nothing.
    """
    both = VersionPolicy(latest=2)
    if done == ROLLBACK:
        # The highest version that is wanted answers, and that is the bad one.
        return ConfigChange(model=MODEL, policy=both if keeps else VersionPolicy())
    return ConfigChange(model=MODEL, labels={LABEL: BAD}, policy=both if keeps else VersionPolicy())
