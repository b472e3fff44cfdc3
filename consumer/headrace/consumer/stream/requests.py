"""A batch of request records as the door reads them: route, deadline and headers, no more.

Owns what the headers mean and what is wrong with a record before any model sees it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RequestError
from headrace.consumer.core.serving_map import Serving
from headrace.consumer.stream.clients import Message
from headrace.consumer.stream.content import AVRO, Content, content_of
from headrace.consumer.stream.outgoing import OutHeaders
from headrace.schemas.errors import WireError
from headrace.schemas.records import Route
from headrace.schemas.routes import route_bytes
from headrace.schemas.topics import RequestHeader

MAX_DEADLINE_SECONDS: Final = 600.0
# From which size on a record is measured before it is sent.
LARGE_BYTES: Final = 16 * 1024

_CORRELATION_ID: Final = RequestHeader.CORRELATION_ID
_REPLY_TOPIC: Final = RequestHeader.REPLY_TOPIC
_DEADLINE_MS: Final = RequestHeader.DEADLINE_MS
_TRACEPARENT: Final = RequestHeader.TRACEPARENT
_CONTENT_TYPE: Final = RequestHeader.CONTENT_TYPE
_EXPIRED: Final = Fault(Code.DEADLINE_EXCEEDED, "the deadline passed before the model ran")
_EMPTY: Final = Fault(Code.INVALID_ARGUMENT, "the record has no value", is_unreadable=True)


class Kind(NamedTuple):
    """What requests have in common that may be asked together: an encoding and a route."""

    content: Content
    route: Route


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
        groups: the records that want an answer of a model, by kind, as indices.
        payloads: the answers, None while there is none.
        faults: why records have no answer, by index.
        servings: the version that was asked, or None.
        refused_replies: why an answer cannot go where the record wants it, by index.

    **Concurrency:** one task at a time.
    """

    def __init__(self, messages: Sequence[Message], *, default_deadline_seconds: float) -> None:
        count = len(messages)
        self.messages = messages
        self.values = [message.value for message in messages]
        self.contents: list[Content] = [AVRO] * count
        self.routes: list[Route | None] = [None] * count
        self.echoes: list[OutHeaders] = []
        self.replies: list[str | None] = [None] * count
        self.payloads: list[bytes | None] = [None] * count
        self.faults: dict[int, Fault] = {}
        self.servings: list[Serving | None] = [None] * count
        self.groups: dict[Kind, list[int]] = {}
        self.refused_replies: dict[int, str] = {}
        self.large: set[int] = set()
        self._now = time.monotonic()
        self._epoch_ms = time.time() * 1000
        self.deadlines = [self._now + default_deadline_seconds] * count
        self._read_headers()

    @property
    def next_offset(self) -> int:
        """The offset behind the last record."""
        return self.messages[-1].offset + 1

    @property
    def size_bytes(self) -> int:
        """The bytes of the values."""
        return sum(len(message.value or b"") for message in self.messages)

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
        for index, topic in enumerate(self.replies):
            if topic is not None:
                wanted.setdefault(topic, []).append(index)
        return wanted

    def is_addressable(self, index: int) -> bool:
        """Whether somebody can tell an answer to this record from others."""
        is_correlated = any(name == _CORRELATION_ID for name, _ in self.echoes[index])
        return is_correlated or self.replies[index] is not None

    def header(self, index: int, name: str) -> bytes | None:
        """Return a header of a record; when the name repeats, the last one counts."""
        return dict(self.messages[index].headers).get(name)

    def read_routes(self) -> None:
        """Sort what is not answered yet into groups; refuse what cannot be routed."""
        prefix, kind, members = b"\0", None, list[int]()
        for index, (value, content) in enumerate(zip(self.values, self.contents, strict=True)):
            if value and content is AVRO and kind and value.startswith(prefix):
                # Most neighbours have one route, which the first bytes of a value tell whole.
                if self.payloads[index] is None:
                    members.append(index)
                    self.routes[index] = kind.route
                continue
            if self.payloads[index] is not None:
                continue
            found = self._route(index, value, content)
            if found is None:
                continue
            members = self.groups.setdefault(found, [])
            members.append(index)
            self.routes[index] = found.route
            if content is AVRO and value and (route := route_bytes(value)):
                prefix, kind = route, found
            else:
                kind = None

    def _route(self, index: int, value: bytes | None, content: Content) -> Kind | None:
        if not value:
            self.refuse(index, _EMPTY)
            return None
        try:
            headers = dict(self.messages[index].headers)
            return Kind(content, content.read_route(value, headers))
        except WireError as error:
            self.refuse(index, Fault(Code.INVALID_ARGUMENT, message=str(error), is_unreadable=True))
        except RequestError as error:
            self.refuse(index, Fault(error.code, str(error)))
        return None

    def _read_headers(self) -> None:
        """Read what the headers say, in one pass: this is the door's innermost loop."""
        last_deadline: bytes | None = None
        last_reply: bytes | None = None
        seconds, topic = 0.0, ""
        for index, message in enumerate(self.messages):
            echo: OutHeaders = []
            deadline: bytes | None = None
            key = message.key
            is_large = key is not None and len(key) > LARGE_BYTES
            for pair in message.headers:
                name, raw = pair
                if raw is None:  # pyright: ignore[reportUnnecessaryComparison] - Kafka allows it
                    continue
                if name == _CORRELATION_ID:
                    echo = [pair, *_others(echo, name)] if echo else [pair]
                    is_large = is_large or len(raw) > LARGE_BYTES
                elif name == _REPLY_TOPIC:
                    if raw != last_reply:
                        last_reply, topic = raw, raw.decode(errors="replace")
                    self.replies[index] = topic
                elif name == _DEADLINE_MS:
                    deadline = raw
                elif name == _TRACEPARENT:
                    echo = [*_others(echo, name), pair]
                    is_large = is_large or len(raw) > LARGE_BYTES
                elif name == _CONTENT_TYPE:
                    self._read_content(index, raw)
            if deadline is not None:
                if deadline != last_deadline:
                    seconds = self._deadline(index, deadline)
                    last_deadline = deadline if seconds > self._now else None
                self.deadlines[index] = seconds
            self.echoes.append(echo)
            if is_large:
                self.large.add(index)

    def _read_content(self, index: int, raw: bytes) -> None:
        try:
            self.contents[index] = content_of(raw)
        except RequestError as error:
            self.refuse(index, Fault(error.code, str(error), is_unreadable=True))

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
