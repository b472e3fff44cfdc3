"""Past requests as a replay's: which they are, what they keep, and who answers them."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, cast
from weakref import WeakKeyDictionary

from headrace.consumer.core.choice import Choice, Handle, Serving
from headrace.consumer.stream.clients import Message, TopicPartition
from headrace.consumer.stream.requests import MAX_DEADLINE_SECONDS, Requests
from headrace.publisher.ranges import Span
from headrace.publisher.spans import SpanReader
from headrace.schemas.records import Route
from headrace.schemas.topics import AnswerHeader, RequestHeader

# What was true of the moment, and would spoil the replay: deadlines are past, the answers go to the
# replay's own topic, and its one version waits for no control record.
_DROPPED: Final = (
    RequestHeader.DEADLINE_MS,
    RequestHeader.REPLY_TOPIC,
    RequestHeader.MIN_CONTROL_OFFSET,
)


FindModels: TypeAlias = Callable[[Sequence[Message]], Awaitable[list[str | None]]]


class PastRequest(NamedTuple):
    """A request record with other headers than it had."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Tally:
    """What became of records: `others` were for other models, `unreadable` for none at all.

    Units: `done` and `total` count offsets of the range, those that hold no record included.
    """

    total: int = 0
    done: int = 0
    answered: int = 0
    errors: int = 0
    others: int = 0
    unreadable: int = 0


class OnlyVersion:
    """Lends one version, whatever version or label a request names; an `answering.Versions`.

    **Concurrency:** event loop only.
    """

    def __init__(self, serving: Serving) -> None:
        self._choice = Choice(serving)

    def acquire(self, route: Route, affinity: bytes | None = None) -> Handle:  # noqa: ARG002
        """Return a loan of the version."""
        return Handle(self._choice)

    def acquire_as_of(
        self,
        min_offset: int,  # noqa: ARG002 - a replay waits for nothing
        route: Route,
        affinity: bytes | None = None,
    ) -> Handle:
        """Return a loan of the version."""
        return self.acquire(route, affinity)

    async def acquire_at(
        self,
        min_offset: int,
        route: Route,
        affinity: bytes | None = None,
        *,
        deadline_seconds: float,  # noqa: ARG002
    ) -> Handle:
        """Return a loan of the version."""
        return self.acquire_as_of(min_offset, route, affinity)

    def is_split(self, model: str) -> bool:  # noqa: ARG002 - all alike
        """Whether several versions answer: never."""
        return False


class PastRequests:
    """The requests for one model in a range of records; a `source.Source`.

    Records that no model could read are skipped: they were answered, or are dead letters, already.

    **Concurrency:** event loop only.

    Args:
        model: the model.
        spans: the range.
        find_models: returns which models records ask for; see `Intake.models`.
        on_commit: hears of every commit.
    """

    def __init__(
        self,
        model: str,
        spans: Mapping[TopicPartition, Span],
        find_models: FindModels,
        on_commit: Callable[[Tally], None],
    ) -> None:
        self.tally = Tally(total=sum(span.end - span.start for span in spans.values()))
        self._model = model
        self._spans = spans
        self._find_models = find_models
        self._on_commit = on_commit
        self._reached = {partition: span.start for partition, span in spans.items()}
        # Others and unreadable, of batches that may yet be given up.
        self._skipped: WeakKeyDictionary[Requests, tuple[int, int]] = WeakKeyDictionary()

    @property
    def partitions(self) -> Sequence[TopicPartition]:
        """The partitions that the range covers."""
        return list(self._spans)

    def end_offset(self, partition: TopicPartition) -> int | None:
        """Return where the range ends."""
        return self._spans[partition].end

    async def requests(self, messages: Sequence[Message]) -> Requests:
        """Return the model's requests among the records, as they are to be answered now.

        Raises:
            RegistryUnavailable: it cannot be told now which they are.
        """
        last = messages[-1]
        end = self._spans[TopicPartition(last.topic, last.partition)].end
        inside = [message for message in messages if message.offset < end]
        models = await self._find_models(inside)
        mine = [
            message for message, model in zip(inside, models, strict=True) if model == self._model
        ]
        requests = Requests(
            [_without_moment(message) for message in mine],
            default_deadline_seconds=MAX_DEADLINE_SECONDS,
            next_offset=min(last.offset + 1, end),
        )
        requests.echoes = [
            [*echo, *_marks(message)] for echo, message in zip(requests.echoes, mine, strict=True)
        ]
        unreadable = models.count(None)
        self._skipped[requests] = (len(inside) - len(mine) - unreadable, unreadable)
        return requests

    def note_committed(self, partition: TopicPartition, batches: Sequence[Requests]) -> None:
        """Count what is answered for good, or skipped."""
        tally = self.tally
        for requests in batches:
            others, unreadable = self._skipped.pop(requests)
            tally.answered += len(requests.messages)
            tally.errors += len(requests.faults)
            tally.others += others
            tally.unreadable += unreadable
        reached = batches[-1].next_offset
        tally.done += reached - self._reached[partition]
        self._reached[partition] = reached
        self._on_commit(tally)


def _without_moment(message: Message) -> PastRequest:
    """Return the request without what was true of its moment only."""
    return PastRequest(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
        key=message.key,
        value=message.value,
        headers=[header for header in message.headers if header[0] not in _DROPPED],
    )


def _marks(message: Message) -> list[tuple[str, bytes]]:
    """Return the headers that only an answer of a replay has.

    The request's place joins both, also where a correlation id is used twice, or missing; and the
    reply topic says where the answer given then is.
    """
    place = f"{message.topic}/{message.partition}/{message.offset}".encode()
    named = [raw for name, raw in message.headers if name == RequestHeader.REPLY_TOPIC and raw]
    mark = [(AnswerHeader.REPLAY_OF, place)]
    return [*mark, (RequestHeader.REPLY_TOPIC, named[-1])] if named else mark


async def limited(
    reader: SpanReader,
    spans: Mapping[TopicPartition, Span],
    find_models: FindModels,
    model: str,
    limit: int,
) -> dict[TopicPartition, Span]:
    """Cut the spans so that they hold so many requests for the model, about equal shares each."""
    cut: dict[TopicPartition, Span] = {}
    for place, (partition, span) in enumerate(spans.items()):
        share = math.ceil(limit / (len(spans) - place))
        end, found = (span.start, 0) if not share else (span.end, 0)
        stretch = cast("AsyncGenerator[Message, None]", reader.read(partition, span.start, end))
        async with aclosing(stretch) as messages:
            async for message in messages:
                found += await find_models([message]) == [model]
                if found == share:
                    end = message.offset + 1
                    break
        limit -= found
        cut[partition] = Span(span.start, end)
    return cut
