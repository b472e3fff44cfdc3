"""A batch of request records as the door reads them: route, deadline and headers, no more.

Owns what the headers mean and what is wrong with a record before any model sees it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, cast

from headrace.consumer.core.calls import Answers, Fault
from headrace.consumer.core.choice import Choice
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.core.freshness import MIN_CONTROL_OFFSET, read_min_offset
from headrace.consumer.stream.clients import Message
from headrace.consumer.stream.content import DEFAULT, Content, content_of
from headrace.consumer.stream.outgoing import OutHeaders
from headrace.schemas.claims import CLAIM_CONTENT_TYPE
from headrace.schemas.errors import WireError
from headrace.schemas.records import Route
from headrace.schemas.routes import route_bytes
from headrace.schemas.topics import AnswerHeader, RequestHeader

MAX_DEADLINE_SECONDS: Final = 600.0
# From which size on a record is measured before it is sent.
LARGE_BYTES: Final = 16 * 1024

_CORRELATION_ID: Final = RequestHeader.CORRELATION_ID
_REPLY_TOPIC: Final = RequestHeader.REPLY_TOPIC
_DEADLINE_MS: Final = RequestHeader.DEADLINE_MS
_TRACEPARENT: Final = RequestHeader.TRACEPARENT
_CONTENT_TYPE: Final = RequestHeader.CONTENT_TYPE
_RARE: Final = frozenset((_CONTENT_TYPE, MIN_CONTROL_OFFSET))
_CLAIM: Final = CLAIM_CONTENT_TYPE.encode()
# What tells one answer from others.
_TELLING: Final = (_CORRELATION_ID, AnswerHeader.REPLAY_OF)
_EXPIRED: Final = Fault(Code.DEADLINE_EXCEEDED, "the deadline passed before the model ran")
_EMPTY: Final = Fault(Code.INVALID_ARGUMENT, "the record has no value", is_unreadable=True)


Echo = Sequence[tuple[str, bytes]]


class Kind(NamedTuple):
    """What requests have in common that may be asked together: an encoding and a route."""

    content: Content
    route: Route


class _Last:
    """The header values read last, which neighbours often share."""

    __slots__ = ("deadline", "reply", "seconds", "topic")

    def __init__(self) -> None:
        self.deadline: bytes | None = None
        self.reply: bytes | None = None
        self.seconds = 0.0
        self.topic = ""


class Requests:
    """Consecutive records of one partition and what became of them, in lists of equal length.

    Lists and not an object per record: a batch has thousands of them, and each step of the way
    looks at one or two columns.

    Attributes:
        messages: the records, in the order of their offsets.
        values: what the models are to read; the records' values unless they stand for others.
        contents: how the values are encoded, and answers are to be.
        deadlines: readings of the monotonic clock.
        echoes: the headers that the answers give back.
        replies: the topics that the records want their answers on; None is the default one.
        claims: the records whose values say where their payloads lie, by index.
        min_offsets: the control records that records must not be routed before, by index.
        waiting: the records that wait for theirs now, by index.
        payloads: the answers, None while there is none.
        faults: why records have no answer, by index.
        choices: the version that was asked and why, or None.
        frames: what stands before an answer in place of our header, by index.
        is_simple: whether no record names a reply topic or a content type.
        large: the records whose answers are to be measured, by index.
        refused_replies: why an answer cannot go where the record wants it, by index.

    **Concurrency:** one task at a time.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        default_deadline_seconds: float,
        next_offset: int | None = None,
    ) -> None:
        count = len(messages)
        self._next_offset = next_offset
        self._default_deadline_seconds = default_deadline_seconds
        self.messages = messages
        self.values = [message.value for message in messages]
        self.contents: list[Content] = [DEFAULT] * count
        self.routes: list[Route | None] = [None] * count
        self.echoes: list[Echo] = []
        self.replies: list[str | None] = [None] * count
        self.payloads: list[bytes | None] = [None] * count
        self.faults: dict[int, Fault] = {}
        self.choices: list[Choice | None] = [None] * count
        self.claims: list[int] = []
        self.min_offsets: dict[int, int] = {}
        self.waiting: set[int] = set()
        self.refused_replies: dict[int, str] = {}
        self.frames: dict[int, bytes] = {}
        self.large: set[int] = set()
        self.is_simple = True
        self._now = time.monotonic()
        self._epoch_ms = time.time() * 1000
        self.deadlines = [self._now + default_deadline_seconds] * count
        self._read_headers()

    @property
    def next_offset(self) -> int:
        """The offset behind the last record, or as given: behind records that were left out."""
        return self.messages[-1].offset + 1 if self._next_offset is None else self._next_offset

    @property
    def size_bytes(self) -> int:
        """The bytes of the values."""
        return sum(map(len, filter(None, self.values)))

    def cut(self, places: Sequence[int]) -> list[Requests]:
        """Return the records as several batches that begin at these places; none answered yet."""
        ends = [*places, len(self.messages)]
        return [
            Requests(
                self.messages[begin:end],
                default_deadline_seconds=self._default_deadline_seconds,
                next_offset=self._next_offset if end == ends[-1] else None,
            )
            for begin, end in pairwise([0, *ends])
        ]

    def refuse(self, index: int, fault: Fault) -> None:
        """Give a record this fault for an answer."""
        self.payloads[index] = b""
        self.faults[index] = fault

    def refuse_replies(self, indices: Sequence[int], reason: str) -> None:
        """Note that these records cannot be answered; no model need run for them."""
        for index in indices:
            self.refused_replies[index] = reason
            self.payloads[index] = b""

    def reply_topics(self) -> dict[str, list[int]]:
        """Return the topics that records want their answers on, with the records' indices."""
        wanted: dict[str, list[int]] = {}
        if self.is_simple:
            return wanted
        for index, topic in enumerate(self.replies):
            if topic is not None:
                wanted.setdefault(topic, []).append(index)
        return wanted

    def is_addressable(self, index: int) -> bool:
        """Whether somebody can tell an answer to this record from others."""
        is_told_apart = any(name in _TELLING for name, _ in self.echoes[index])
        return is_told_apart or self.replies[index] is not None

    def calls(self, members: Sequence[int]) -> tuple[Sequence[bytes], Sequence[float]]:
        """Return the values and deadlines of records that have values."""
        if len(members) == len(self.values):
            return cast("list[bytes]", self.values), self.deadlines
        values, deadlines = self.values, self.deadlines
        return [values[i] or b"" for i in members], [deadlines[i] for i in members]

    def note_choice(self, members: Sequence[int], choice: Choice) -> None:
        """Note which version these records asked."""
        if len(members) == len(self.choices):
            self.choices = [choice] * len(members)
            return
        for index in members:
            self.choices[index] = choice

    def note_answers(self, members: Sequence[int], answers: Answers) -> None:
        """Note what was answered to these records."""
        if len(members) == len(self.payloads):
            self.payloads = list(answers.payloads)
        else:
            for index, payload in zip(members, answers.payloads, strict=True):
                self.payloads[index] = payload
        for place, fault in answers.faults.items():
            self.faults[members[place]] = fault

    def header(self, index: int, name: str) -> bytes | None:
        """Return a header of a record; when the name repeats, the last one counts."""
        return dict(self.messages[index].headers).get(name)

    def groups(self) -> dict[Kind, list[int]]:
        """Return the records that want an answer of a model, by kind, as indices; no claims.

        Most neighbours have one route, which the first bytes of a value tell whole. What cannot be
        routed is refused.
        """
        common = self._common_kind()
        if common is not None:
            return {common: list(range(len(self.values)))}
        groups: dict[Kind, list[int]] = {}
        prefix, kind, members, claims = b"", None, list[int](), frozenset(self.claims)
        for index, (value, content) in enumerate(zip(self.values, self.contents, strict=True)):
            if self.payloads[index] is not None or index in claims:
                continue
            if not (kind and value and content is DEFAULT and value.startswith(prefix)):
                kind = self.kind(index)
                if kind is None:
                    continue
                members = groups.setdefault(kind, [])
                prefix = route_bytes(value) if value and content is DEFAULT else b""
                members.append(index)
                kind = kind if prefix else None
            else:
                self.routes[index] = kind.route
                members.append(index)
        return groups

    def kind(self, index: int) -> Kind | None:
        """Return what a record wants of whom; refuse one that cannot be routed."""
        value, content = self.values[index], self.contents[index]
        if not value:
            self.refuse(index, _EMPTY)
            return None
        try:
            headers = dict(self.messages[index].headers)
            found = Kind(content, content.read_route(value, headers))
        except WireError as error:
            self.refuse(index, Fault(Code.INVALID_ARGUMENT, str(error), is_unreadable=True))
            return None
        self.routes[index] = found.route
        return found

    def _common_kind(self) -> Kind | None:
        """Return the kind of all records, if they are alike at first sight."""
        values = self.values
        is_taken = bool(self.faults or self.refused_replies)
        if not values or is_taken or not self.is_simple or None in values:
            return None
        first = values[0]
        prefix = route_bytes(first) if first else b""
        if not prefix or not all(value.startswith(prefix) for value in values if value is not None):
            return None
        found = self.kind(0)
        if found is not None:
            self.routes = [found.route] * len(values)
        return found

    def _read_headers(self) -> None:
        """Read what the headers say, in one pass: this is the door's innermost loop."""
        echoes, last = self.echoes, _Last()
        for index, message in enumerate(self.messages):
            headers, key = message.headers, message.key
            if key is not None and len(key) > LARGE_BYTES:
                self.large.add(index)
            if len(headers) == 1 and headers[0][0] == _CORRELATION_ID and headers[0][1]:
                # What many clients send, and nothing else.
                echoes.append(headers)
                if len(headers[0][1]) > LARGE_BYTES:
                    self.large.add(index)
            elif headers:
                echoes.append(self._read_each(index, headers, last))
            else:
                echoes.append(headers)

    def _read_each(self, index: int, headers: Echo, last: _Last) -> Echo:
        """Read the headers of one record, and return those to echo."""
        echo: OutHeaders = []
        deadline: bytes | None = None
        rare: dict[str, bytes] | None = None
        for pair in headers:
            name, raw = pair
            if raw is None:  # pyright: ignore[reportUnnecessaryComparison] - Kafka allows it
                continue
            if name == _CORRELATION_ID:
                echo = [pair, *_others(echo, name)] if echo else [pair]
            elif name == _REPLY_TOPIC:
                self.is_simple = False
                if raw != last.reply:
                    last.reply, last.topic = raw, raw.decode(errors="replace")
                self.replies[index] = last.topic
            elif name == _DEADLINE_MS:
                deadline = raw
            elif name == _TRACEPARENT:
                echo = [*_others(echo, name), pair]
            elif name in _RARE:
                rare = {**(rare or {}), name: raw}
        if deadline is not None:
            if deadline != last.deadline:
                last.seconds = self._deadline(index, deadline)
                last.deadline = deadline if last.seconds > self._now else None
            self.deadlines[index] = last.seconds
        if rare:
            self._read_rare(index, rare)
        if any(len(raw) > LARGE_BYTES for _, raw in echo):
            self.large.add(index)
        return echo

    def _read_rare(self, index: int, headers: Mapping[str, bytes]) -> None:
        content_type, min_offset = headers.get(_CONTENT_TYPE), headers.get(MIN_CONTROL_OFFSET)
        if content_type is not None:
            self.is_simple = False
            self._read_content(index, content_type)
        if min_offset is not None:
            try:
                self.min_offsets[index] = read_min_offset(min_offset)
            except InvalidRequest as error:
                self.refuse(index, Fault(error.code, str(error)))

    def _read_content(self, index: int, raw: bytes) -> None:
        if raw == _CLAIM:
            self.claims.append(index)
            return
        try:
            self.contents[index] = content_of(raw)
        except WireError as error:
            self.refuse(index, Fault(Code.INVALID_ARGUMENT, str(error), is_unreadable=True))

    def _deadline(self, index: int, raw: bytes) -> float:
        """Return a record's deadline from its header; refuse the record that it has passed for."""
        try:
            left_seconds = (int(raw) - self._epoch_ms) / 1000
        except (ValueError, OverflowError):
            shown = ascii(raw[:40].decode(errors="replace"))
            words = f"header deadline-ms is {shown}; give epoch milliseconds in decimal digits"
            self.refuse(index, Fault(Code.INVALID_ARGUMENT, words))
            return self._now
        if left_seconds <= 0:
            self.refuse(index, _EXPIRED)
            return self._now
        return self._now + min(left_seconds, MAX_DEADLINE_SECONDS)


def _others(headers: OutHeaders, name: str) -> OutHeaders:
    return [pair for pair in headers if pair[0] != name]
