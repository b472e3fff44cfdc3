"""Finds the answer given then to each answer of a replay, in memory that does not grow.

All answers to one input partition that go to one topic lie in one of its partitions, and in the
order of the requests; so do those of a replay. Two logs in the same order are joined by reading
both once, side by side: a correlation id that was passed over does not come any more. A table of
all answers would need no order, and the memory of all answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias, cast

from headrace.publisher.clients import Message, TopicPartition
from headrace.publisher.ranges import Span
from headrace.schemas.topics import AnswerHeader, RequestHeader

# The last quarter of what waits is looked for again with the next: near the end of a stretch an
# answer may still come.
_SURE: Final = 0.75

Identity: TypeAlias = tuple[bytes, bytes | None]


class Place(NamedTuple):
    """Where a request is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place that a `replay-of` header gives."""
        topic, partition, offset = text.rsplit("/", 2)
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer of the replay that waits for the one given then."""

    place: Place
    correlation_id: bytes
    answer: Message

    @property
    def identity(self) -> Identity:
        """What both answers have alike."""
        return self.correlation_id, self.answer.key


OnSettled: TypeAlias = Callable[[Waiting, Message | None], None]


class Stretches(Protocol):
    """What reads stretches of partitions, one after another; see `publisher.spans.SpanReader`."""

    def read(self, partition: TopicPartition, start: int, end: int) -> AsyncIterator[Message]:
        """Yield the records from offset `start` on that lie before `end`."""
        ...


class Matcher:
    """Joins the answers to one input partition with one partition of a topic of answers.

    **Concurrency:** one task.

    Args:
        model: answers of other models do not count.
        partition: where the answers given then are.
        span: where in it they can be.
        on_settled: hears of each, with the answer given then or None.
    """

    def __init__(
        self, model: str, partition: TopicPartition, span: Span, on_settled: OnSettled
    ) -> None:
        self._model = model.encode()
        self._partition = partition
        self._cursor, self._end = span
        self._on_settled = on_settled
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Let one more wait, behind those before it."""
        self._waiting.append(waiting)

    async def settle(self, reader: Stretches, *, share: float = _SURE) -> None:
        """Settle at least that share of what waits, from the first on."""
        if not self._waiting:
            return
        wanted = self._index()
        matched = set[int]()
        sure = min(len(self._waiting) - 1, int(share * len(self._waiting)))
        is_passed = False
        stretch = reader.read(self._partition, self._cursor, self._end)
        async with aclosing(cast("AsyncGenerator[Message, None]", stretch)) as messages:
            async for message in messages:
                index = self._take(wanted, message)
                if index is None:
                    continue
                self._on_settled(self._waiting[index], message)
                matched.add(index)
                self._cursor = message.offset + 1
                is_passed = index >= sure
                if is_passed or not wanted:
                    break
        kept: list[Waiting] = []
        for index, waiting in enumerate(self._waiting):
            if index in matched:
                continue
            if is_passed and index > sure:
                kept.append(waiting)
            else:
                self._on_settled(waiting, None)
        self._waiting = kept

    def _index(self) -> dict[Identity, deque[int]]:
        wanted: dict[Identity, deque[int]] = {}
        for index, waiting in enumerate(self._waiting):
            wanted.setdefault(waiting.identity, deque()).append(index)
        return wanted

    def _take(self, wanted: dict[Identity, deque[int]], message: Message) -> int | None:
        """Return which of those that wait a message answers; equal ids are taken in order."""
        headers: Mapping[str, bytes] = dict(message.headers)
        identity = (headers.get(RequestHeader.CORRELATION_ID, b""), message.key)
        indices = wanted.get(identity)
        if indices is None or headers.get(AnswerHeader.MODEL, self._model) != self._model:
            return None
        index = indices.popleft()
        if not indices:
            del wanted[identity]
        return index
