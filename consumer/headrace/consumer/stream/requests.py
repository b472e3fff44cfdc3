"""A batch of request records as the door reads them: route, deadline and headers, no more.

Owns what the headers mean and what is wrong with a record before any model sees it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.consumer.core.calls import Answer
from headrace.consumer.core.codes import Code
from headrace.consumer.core.serving_map import Serving
from headrace.consumer.stream.clients import Message
from headrace.schemas.errors import WireError
from headrace.schemas.records import Route
from headrace.schemas.routes import read_route
from headrace.schemas.topics import RequestHeader

Headers = Mapping[str, bytes | None]

MAX_DEADLINE_SECONDS: Final = 600.0
_NO_HEADERS: Final[Headers] = {}
_EXPIRED: Final = Answer(Code.DEADLINE_EXCEEDED, message="the deadline passed before the model ran")
_EMPTY: Final = Answer(Code.INVALID_ARGUMENT, message="the record has no value", is_unreadable=True)


class Requests:
    """Consecutive records of one partition and what became of them, in lists of equal length.

    Lists and not an object per record: a batch has up to a thousand of them, and each step of the
    way looks at one or two columns.

    Attributes:
        messages: the records, in the order of their offsets.
        headers: by name; when a name repeats, the last one counts.
        deadlines: readings of the monotonic clock.
        groups: the records that want an answer of a model, by route, as indices.
        answers: None while there is none.
        servings: the version that was asked, or None.
        refused_replies: why an answer cannot go where the record wants it, by index.

    **Concurrency:** one task at a time.
    """

    __slots__ = (
        "answers",
        "deadlines",
        "groups",
        "headers",
        "messages",
        "refused_replies",
        "routes",
        "servings",
    )

    def __init__(self, messages: Sequence[Message], *, default_deadline_seconds: float) -> None:
        count = len(messages)
        now = time.monotonic()
        self.messages = messages
        self.headers = [dict(m.headers) if m.headers else _NO_HEADERS for m in messages]
        self.deadlines = [now + default_deadline_seconds] * count
        self.routes: list[Route | None] = [None] * count
        self.answers: list[Answer | None] = [None] * count
        self.servings: list[Serving | None] = [None] * count
        self.groups: dict[Route, list[int]] = {}
        self.refused_replies: dict[int, str] = {}
        self._read(now)

    @property
    def next_offset(self) -> int:
        """The offset behind the last record."""
        return self.messages[-1].offset + 1

    @property
    def size_bytes(self) -> int:
        """The bytes of the values."""
        return sum(len(message.value or b"") for message in self.messages)

    @property
    def errors(self) -> int:
        """How many records have no answer of a model."""
        return sum(1 for answer in self.answers if answer is None or answer.code is not Code.OK)

    def reply_topics(self) -> dict[str, list[int]]:
        """Return the topics that records want their answers on, with the records' indices."""
        wanted: dict[str, list[int]] = {}
        for index, headers in enumerate(self.headers):
            if headers and (name := headers.get(RequestHeader.REPLY_TOPIC)) is not None:
                wanted.setdefault(name.decode(errors="replace"), []).append(index)
        return wanted

    def refuse_replies(self, indices: Sequence[int], reason: str) -> None:
        """Note that these records cannot be answered; no model need run for them."""
        for index in indices:
            self.refused_replies[index] = reason
            route = self.routes[index]
            if route is not None and index in (group := self.groups.get(route, [])):
                group.remove(index)

    def _read(self, now: float) -> None:
        epoch_ms = time.time() * 1000
        groups = self.groups
        for index, message in enumerate(self.messages):
            value = message.value
            if not value:
                self.answers[index] = _EMPTY
                continue
            try:
                route = read_route(value)
            except WireError as error:
                self.answers[index] = Answer(
                    Code.INVALID_ARGUMENT, message=str(error), is_unreadable=True
                )
                continue
            self.routes[index] = route
            headers = self.headers[index]
            if headers and (raw := headers.get(RequestHeader.DEADLINE_MS)) is not None:
                self._limit(index, raw, now, epoch_ms)
                if self.answers[index] is not None:
                    continue
            group = groups.get(route)
            if group is None:
                groups[route] = [index]
            else:
                group.append(index)

    def _limit(self, index: int, raw: bytes, now: float, epoch_ms: float) -> None:
        """Set a record's deadline from its header, or the answer that the header deserves."""
        try:
            left_seconds = (int(raw) - epoch_ms) / 1000
        except (ValueError, OverflowError):
            shown = ascii(raw[:40].decode(errors="replace"))
            self.answers[index] = Answer(
                Code.INVALID_ARGUMENT,
                message=f"header deadline-ms is {shown}; give epoch milliseconds in decimal digits",
            )
            return
        if left_seconds <= 0:
            self.answers[index] = _EXPIRED
        self.deadlines[index] = now + min(left_seconds, MAX_DEADLINE_SECONDS)
