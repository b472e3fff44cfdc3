"""The dead-letter topic: listed, read letter by letter, and made whole again from the origin.

Reads only. Putting letters back is the business of `letter_replay`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final, Self

from headrace.publisher.clients import Message, TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import UnknownLetter
from headrace.publisher.letters import (
    DeadLetter,
    LetterEntry,
    LetterFilter,
    LetterId,
    read_letter,
    read_mark,
)
from headrace.publisher.progress import Tick
from headrace.publisher.spans import SpanReader, span_reader
from headrace.publisher.topics import partition_counts, require_topics
from headrace.schemas.topics import Topics

_EVERYTHING: Final = LetterFilter()


def _ignore(_done: int, _total: int) -> None:
    """Take a report and do nothing."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The letters that were wanted, oldest first, and how far the topic was read for them.

    `ends` is by partition; what lies behind was not looked at.
    """

    entries: Sequence[LetterEntry]
    ends: Mapping[int, int]


class DeadLetters:
    """The dead letters of a deployment: `async with DeadLetters(connection) as letters`.

    Everything read is committed, and lies before the end of the topic at the time of the call.

    **Concurrency:** one task.
    """

    def __init__(self, connection: KafkaConnection, topics: Topics | None = None) -> None:
        self.connection = connection
        self.topic = (topics or Topics()).dead_letters
        self._partitions = 0
        self._opened = AsyncExitStack()
        self._reader: SpanReader | None = None
        self._origins: SpanReader | None = None

    async def __aenter__(self) -> Self:
        """Open the topic.

        Raises:
            BrokerUnreachable: no broker answered.
            TopicMismatch: the dead-letter topic does not exist.
        """
        self._partitions = (await require_topics(self.connection, [self.topic]))[self.topic]
        self._reader = await self._opened.enter_async_context(span_reader(self.connection))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the consumers."""
        self._reader = self._origins = None
        await self._opened.aclose()

    async def newest(
        self, wanted: LetterFilter = _EVERYTHING, *, limit: int | None = None, tick: Tick = _ignore
    ) -> list[LetterEntry]:
        """Return the wanted letters, newest first, at most `limit`; raises as `survey`."""
        survey = await self.survey(wanted, limit=limit, tick=tick)
        found = sorted(survey.entries, key=lambda entry: (entry.timestamp_ms, entry.id))
        return found[::-1][:limit]

    async def survey(
        self, wanted: LetterFilter = _EVERYTHING, *, limit: int | None = None, tick: Tick = _ignore
    ) -> Survey:
        """Return the wanted letters in the order of the topic.

        Args:
            wanted: which letters.
            limit: how many of each partition, the last ones; None for all.
            tick: told the offsets done so far, and their total.

        Raises:
            BrokerUnreachable: the broker stopped answering.
            UnknownLetter: a letter that `wanted` names is not there.
        """
        spans = [await self._span(partition, wanted) for partition in range(self._partitions)]
        total, done = sum(end - start for _, start, end in spans), 0
        marks: dict[LetterId, int] = {}
        found: list[LetterEntry] = []
        for partition, start, end in spans:
            kept: deque[LetterEntry] = deque(maxlen=limit)
            async for message in self._open().read(partition, start, end):
                mark = read_mark(message)
                if mark is not None:
                    marks[mark] = message.timestamp
                elif wanted.wants(entry := read_letter(message).entry):
                    kept.append(entry)
                tick(done + message.offset + 1 - start, total)
            done += end - start
            found += kept
        _check_all_there(wanted, found)
        return Survey(_marked(found, marks), {p.partition: end for p, _, end in spans})

    async def renew(self, survey: Survey) -> Survey:
        """Return the same letters, with every mark that was committed since the survey.

        Transactions of others that are open on the topic are waited for: marks may lie behind
        them, where committed records cannot be read before they end.

        Raises:
            BrokerUnreachable: the broker stopped answering, or a transaction stays open.
        """
        marks: dict[LetterId, int] = {}
        ends: dict[int, int] = {}
        async with span_reader(self.connection, "read_uncommitted") as written:
            for number in survey.ends:
                _, ends[number] = await written.bounds(TopicPartition(self.topic, number))
        for number, seen in survey.ends.items():
            partition = TopicPartition(self.topic, number)
            async for message in self._open().read(partition, seen, ends[number]):
                mark = read_mark(message)
                if mark is not None:
                    marks[mark] = message.timestamp
        return Survey(_marked(survey.entries, marks), ends)

    async def read(self, entries: Iterable[LetterEntry]) -> AsyncIterator[DeadLetter]:
        """Yield letters that a survey found, with their bytes, in the order of the topic.

        Raises:
            BrokerUnreachable: the broker stopped answering.
        """
        by_partition: dict[int, dict[int, LetterEntry]] = {}
        for entry in entries:
            by_partition.setdefault(entry.id.partition, {})[entry.id.offset] = entry
        for number, known in sorted(by_partition.items()):
            partition = TopicPartition(self.topic, number)
            async for message in self._open().read(partition, min(known), max(known) + 1):
                if message.offset in known:
                    letter = read_letter(message)
                    yield replace(letter, entry=known[message.offset])

    async def get(self, letter_id: LetterId) -> DeadLetter:
        """Return one letter.

        Raises:
            UnknownLetter: there is none.
            BrokerUnreachable: the broker stopped answering.
        """
        survey = await self.survey(LetterFilter(ids=frozenset({letter_id})))
        async for letter in self.read(survey.entries):
            return letter
        raise UnknownLetter(f"dead letter {letter_id} went away while it was read")

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """Return a letter with all that the request had, read at its origin if it was cut.

        Raises:
            UnknownLetter: it was cut, and the origin does not have the request any more.
            BrokerUnreachable: the broker stopped answering.
        """
        if not letter.entry.truncated_bytes:
            return letter
        original = await self._original(letter)
        if original is None or not letter.is_of(original):
            raise UnknownLetter(
                f"dead letter {letter.entry.id} lacks {letter.entry.truncated_bytes} bytes that "
                f"its topic did not take, and its origin {letter.entry.origin} does not hold the "
                "request any more: ask whoever sent it to send it again"
            )
        entry = replace(letter.entry, key=original.key)
        return DeadLetter(entry, original.value, list(original.headers))

    async def _original(self, letter: DeadLetter) -> Message | None:
        origin = letter.entry.origin
        if origin is None:
            return None
        # Asked first, because a reader of a topic that is gone may make the broker create it.
        counts = await partition_counts(self.connection, [origin.topic])
        if origin.partition >= counts.get(origin.topic, 0):
            return None
        if self._origins is None:
            # One of its own: letters are read while their originals are looked up.
            self._origins = await self._opened.enter_async_context(span_reader(self.connection))
        partition = TopicPartition(origin.topic, origin.partition)
        first, end = await self._origins.bounds(partition)
        if not first <= origin.offset < end:
            return None
        async for message in self._origins.read(partition, origin.offset, origin.offset + 1):
            return message
        return None

    async def _span(self, number: int, wanted: LetterFilter) -> tuple[TopicPartition, int, int]:
        """Return where wanted letters, and marks on them, can lie in a partition."""
        partition = TopicPartition(self.topic, number)
        start, end = await self._open().bounds(partition, wanted.since_ms)
        if wanted.ids is not None:
            offsets = [letter.offset for letter in wanted.ids if letter.partition == number]
            start = max(start, min(offsets, default=end))
        return partition, min(start, end), end

    def _open(self) -> SpanReader:
        if self._reader is None:
            raise RuntimeError("use DeadLetters in an async with statement")
        return self._reader


def _marked(entries: Iterable[LetterEntry], marks: Mapping[LetterId, int]) -> list[LetterEntry]:
    return [
        replace(entry, replayed_at_ms=marks[entry.id]) if entry.id in marks else entry
        for entry in entries
    ]


def _check_all_there(wanted: LetterFilter, found: Iterable[LetterEntry]) -> None:
    """Raise UnknownLetter when a letter is named and not found."""
    if wanted.ids is None:
        return
    missing = wanted.ids - {entry.id for entry in found}
    if missing:
        raise UnknownLetter(
            f"no dead letter {', '.join(map(str, sorted(missing)))} that fits: "
            "'headrace dead-letters list' shows those that there are"
        )
