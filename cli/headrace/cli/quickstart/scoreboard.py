"""What has happened so far: versions, answers by door, events. The display reads it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headrace.cli.quickstart.messages import Counted, Serving, VersionCount

_RATE_WINDOW_SECONDS: Final = 2.0


class Door(StrEnum):
    """Where a client asks."""

    GRPC = "gRPC"
    KAFKA = "Kafka"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionScore:
    """One version: what it took to serve it, and what it answered by each door."""

    version: int
    event_to_serving_seconds: float
    grpc: VersionCount
    kafka: VersionCount

    @property
    def accuracy(self) -> float | None:
        """The share of digits read right, as answered, over both doors; None without answers."""
        covered = self.grpc.covered + self.kafka.covered
        return (self.grpc.correct + self.kafka.correct) / covered if covered else None


class Scoreboard:
    """The state of the show.

    **Concurrency:** changed on one event loop; a display thread may read it meanwhile.
    """

    def __init__(self, digits: int, tell: Callable[[str], None]) -> None:
        self.digits = digits
        self.events: deque[tuple[float, str]] = deque(maxlen=8)
        self.counts = {door: Counted() for door in Door}
        self.started_at = time.monotonic()
        self._tell = tell
        self._served: list[Serving] = []
        self._history = {door: deque[tuple[float, int]](maxlen=64) for door in Door}
        self._changed = asyncio.Event()
        self._finished_at: float | None = None

    def say(self, words: str) -> None:
        """Tell an event, to the display and to whoever reads lines."""
        self.events.append((time.monotonic() - self.started_at, words))
        self._tell(words)

    def serve(self, serving: Serving) -> None:
        """Take note that a version is served."""
        self._served.append(serving)
        self._change()

    def count(self, door: Door, counted: Counted) -> None:
        """Take the latest count of a client."""
        self.counts[door] = counted
        self._history[door].append((time.monotonic(), counted.answers))
        self._change()

    def finish(self) -> None:
        """Take note that nobody asks any more: the rates stay what they are."""
        self._finished_at = time.monotonic()

    def rate(self, door: Door) -> float:
        """Return the answers per second of the last moments, or of the last before the end."""
        now = self._finished_at or time.monotonic()
        recent = [
            entry for entry in list(self._history[door]) if now - entry[0] < _RATE_WINDOW_SECONDS
        ]
        if len(recent) < 2 or recent[-1][0] == recent[0][0]:
            return 0.0
        return (recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0])

    @property
    def scores(self) -> list[VersionScore]:
        """The versions published by this show, in order."""
        return [
            VersionScore(
                version=serving.version,
                event_to_serving_seconds=serving.event_to_serving_seconds,
                grpc=self.counts[Door.GRPC].of(serving.version),
                kafka=self.counts[Door.KAFKA].of(serving.version),
            )
            for serving in list(self._served)
        ]

    def uncovered(self, version: int) -> list[Door]:
        """Return the doors by which the version has not answered every digit yet."""
        return [door for door in Door if self.counts[door].of(version).covered < self.digits]

    async def wait_covered(self, version: int) -> None:
        """Return once the version has answered every digit by every door."""
        while self.uncovered(version):
            self._changed.clear()
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
