"""A place for one worker of a version."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from headrace.consumer.workers.lane import Lane


class State(Enum):
    """What a seat's worker is doing."""

    COMING = auto()
    PAUSED = auto()
    AT_WORK = auto()
    DYING = auto()


class Seat:
    """A place for one worker at a time; `lane` is the present one's, or the last one's."""

    __slots__ = ("is_leaving", "lane", "lost", "state", "task")

    def __init__(self) -> None:
        self.state = State.COMING
        self.is_leaving = False
        self.lane: Lane | None = None
        self.lost = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
