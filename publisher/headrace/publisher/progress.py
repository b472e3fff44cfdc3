"""What a publisher reports while it works, and blocking work that reports from its thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from headrace.schemas.records import ServableState

Tick = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """So many bytes of the artefact have been read and hashed."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The version has loaded, and so many of its examples have been run."""

    done_examples: int
    total_examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """So many bytes of the artefact have been copied to the store."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The event is in the control log."""

    control_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReported:
    """A node told of the version: a new state, or a failed attempt that it will repeat."""

    node: str
    state: ServableState
    attempt: int
    error: str | None = None


Progress = Hashed | Tried | Stored | Appended | NodeReported
OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Take a report and do nothing."""


class Abandoned(Exception):
    """Raised inside the thread, from its own report, when nobody waits for it any more."""


async def in_thread(work: Callable[[Tick], T], tick: Tick) -> T:
    """Run blocking `work` in a thread; its reports arrive on the event loop.

    Cancellation: the work ends at its next report, and clears up behind itself as for any error.
    """
    loop = asyncio.get_running_loop()
    abandoned = threading.Event()

    def from_thread(done: int, total: int) -> None:
        if abandoned.is_set():
            raise Abandoned
        loop.call_soon_threadsafe(tick, done, total)

    try:
        return await asyncio.to_thread(work, from_thread)
    except asyncio.CancelledError:
        abandoned.set()
        raise
