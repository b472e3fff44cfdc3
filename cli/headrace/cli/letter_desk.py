"""The work behind ``headrace dead-letters``: find, read, ask, replay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.cli.moments import parse_moment
from headrace.cli.terminal import counting
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.dead_letters import DeadLetters
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.letter_replay import LetterReplay, Replayed, ReplayOptions
from headrace.publisher.letters import DeadLetter, LetterEntry, LetterFilter, LetterId
from headrace.schemas.topics import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which letters the options of a command name, as they were written."""

    ids: Sequence[str] = ()
    model: str | None = None
    reason: str | None = None
    topic: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said, which is every letter."""
        return self == Wish()

    def filter(self) -> LetterFilter:
        """Return what the options mean; raises InvalidArgument."""
        return LetterFilter(
            model=self.model,
            reason=self.reason,
            topic=self.topic,
            since_ms=None if self.since is None else parse_moment("--since", self.since),
            until_ms=None if self.until is None else parse_moment("--until", self.until),
            ids=frozenset(map(LetterId.parse, self.ids)) if self.ids else None,
        )


def _letters(servers: str) -> DeadLetters:
    return DeadLetters(KafkaConnection.from_environment(servers), Topics.from_environment())


async def newest(servers: str, wish: Wish, limit: int) -> list[LetterEntry]:
    """Return the letters to list; a limit of 0 is none."""
    wanted = wish.filter()
    async with _letters(servers) as letters:
        with counting("reading letters") as tick:
            return await letters.newest(wanted, limit=limit or None, tick=tick)


async def show(servers: str, written: str, raw: str | None) -> DeadLetter:
    """Return one letter; with `raw`, write the request's value there, whole."""
    letter_id = LetterId.parse(written)
    async with _letters(servers) as letters:
        letter = await letters.get(letter_id)
        if raw is not None:
            _write(raw, (await letters.whole(letter)).value or b"")
        return letter


def _write(path: str, value: bytes) -> None:
    try:
        if path == "-":
            sys.stdout.buffer.write(value)
            sys.stdout.buffer.flush()
        else:
            Path(path).write_bytes(value)
    except OSError as error:
        raise InvalidArgument(
            f"cannot write to {path}: {error.strerror or error}: give --raw a file that can be "
            "written, or - for standard output"
        ) from error


async def replay(
    servers: str, wish: Wish, options: ReplayOptions, confirm: Callable[[int], None] | None
) -> list[Replayed]:
    """Replay letters; `confirm` hears how many and may raise. None for it means a rehearsal."""
    wanted = wish.filter()
    async with _letters(servers) as letters:
        with counting("reading letters") as tick:
            survey = await letters.survey(wanted, tick=tick)
        work = LetterReplay(letters, options)
        if confirm is None:
            return await work.rehearse(survey)
        waiting = sum(1 for e in survey.entries if options.again or e.replayed_at_ms is None)
        if waiting:
            confirm(waiting)
        with counting("replaying") as tick:
            return await work.run(survey, tick)
