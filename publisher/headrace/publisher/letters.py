"""Dead letters as an operator sees them: which request could not be used, why, what became of it.

Pure: reads the records of the dead-letter topic, decides which are wanted, and makes a letter into
the request that it was. Fetching and sending are done elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from headrace.publisher.clients import Message
from headrace.publisher.errors import InvalidArgument
from headrace.schemas.errors import WireError
from headrace.schemas.routes import read_route
from headrace.schemas.topics import DeadLetterHeader, RequestHeader

Headers = Sequence[tuple[str, bytes]]

_ID: Final = re.compile(r"(?:(\d{1,9}):)?(\d{1,18})")
_ORIGIN_NAMES: Final = (
    DeadLetterHeader.ORIGIN_TOPIC,
    DeadLetterHeader.ORIGIN_PARTITION,
    DeadLetterHeader.ORIGIN_OFFSET,
    DeadLetterHeader.REASON,
)
# What one header takes beside its name and value, as the node counts what it leaves out.
_HEADER_OVERHEAD_BYTES: Final = 12


class LetterId(NamedTuple):
    """Where a letter lies on the dead-letter topic, written `PARTITION:OFFSET`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id that a person wrote; a bare number is an offset of partition 0.

        Raises:
            InvalidArgument: it is neither.
        """
        match = _ID.fullmatch(text.strip())
        if match is None:
            raise InvalidArgument(
                f"{text!r} names no dead letter: give PARTITION:OFFSET or OFFSET, as "
                "'headrace dead-letters list' shows them"
            )
        return cls(int(match[1] or 0), int(match[2]))


class Origin(NamedTuple):
    """Where the request was read that became the letter."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterEntry:
    """All about a letter but its bytes.

    `origin` is None for a record that no node wrote. `model` is what the value or its headers say,
    None when neither can be read. `size_bytes` counts what is left of key and value,
    `truncated_bytes` what is not. `replayed_at_ms` is when it was last replayed.
    """

    id: LetterId
    timestamp_ms: int
    origin: Origin | None
    reason: str
    key: bytes | None
    model: str | None
    size_bytes: int
    truncated_bytes: int = 0
    replayed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter with its bytes; `headers` are those that the request had."""

    entry: LetterEntry
    value: bytes | None
    headers: Headers

    def is_of(self, original: Message) -> bool:
        """Return whether a record of the origin is the one that this truncated letter was cut of.

        A topic that was deleted and made again has other records under the same offsets.
        """
        entry = self.entry
        lost = entry.truncated_bytes - len(original.value or b"")
        if self.headers == list(original.headers) and entry.key == original.key and lost == 0:
            return True
        rest = len(original.key or b"") + sum(
            len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES
            for name, value in original.headers
        )
        return not self.headers and entry.key is None and lost == rest


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are wanted; what is not given excludes none.

    `reason` is looked for in the letter's, whatever the case; `topic` is the origin's.

    Units: epoch milliseconds; `since_ms` is included and `until_ms` is not.
    """

    model: str | None = None
    reason: str | None = None
    topic: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    ids: frozenset[LetterId] | None = None

    def wants(self, entry: LetterEntry) -> bool:
        """Return whether the letter is wanted."""
        return (
            (self.ids is None or entry.id in self.ids)
            and (self.model is None or entry.model == self.model)
            and (self.reason is None or self.reason.casefold() in entry.reason.casefold())
            and (self.topic is None or (entry.origin and entry.origin.topic) == self.topic)
            and (self.since_ms is None or entry.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or entry.timestamp_ms < self.until_ms)
        )


def read_mark(message: Message) -> LetterId | None:
    """Return the letter that the record marks as replayed, None when it is no mark.

    A mark has one header and no value; a letter has more headers, whatever its request carried.
    """
    if message.value is not None or len(message.headers) != 1:
        return None
    name, value = message.headers[0]
    offset = _number(value) if name == DeadLetterHeader.REPLAYED else None
    return None if offset is None else LetterId(message.partition, offset)


def mark_headers(letter: LetterId) -> list[tuple[str, bytes]]:
    """Return the headers of the record that marks a letter of the same partition as replayed."""
    return [(DeadLetterHeader.REPLAYED, b"%d" % letter.offset)]


def read_letter(message: Message) -> DeadLetter:
    """Return the letter that a record of the dead-letter topic is.

    The headers of the letter itself are the last of their names: a request may have brought some
    of the same names.
    """
    places = {name: index for index, (name, _) in enumerate(message.headers)}
    texts = {
        name: (message.headers[places[name]][1] or b"").decode(errors="replace")
        for name in _ORIGIN_NAMES
        if name in places
    }
    origin = _origin(texts)
    cut = places.get(DeadLetterHeader.TRUNCATED_BYTES, -1)
    is_cut = cut > places.get(DeadLetterHeader.REASON, cut)
    own = {places[name] for name in texts} if origin else set[int]()
    headers = [
        header
        for index, header in enumerate(message.headers)
        if index not in own and not (is_cut and index == cut)
    ]
    entry = LetterEntry(
        id=LetterId(message.partition, message.offset),
        timestamp_ms=message.timestamp,
        origin=origin,
        reason=texts.get(DeadLetterHeader.REASON, ""),
        key=message.key,
        model=_model(message.value, headers),
        size_bytes=len(message.key or b"") + len(message.value or b""),
        truncated_bytes=_number(message.headers[cut][1]) or 0 if is_cut else 0,
    )
    return DeadLetter(entry, message.value, headers)


def _origin(texts: dict[str, str]) -> Origin | None:
    topic = texts.get(DeadLetterHeader.ORIGIN_TOPIC)
    partition = _number(texts.get(DeadLetterHeader.ORIGIN_PARTITION, "").encode())
    offset = _number(texts.get(DeadLetterHeader.ORIGIN_OFFSET, "").encode())
    if not topic or partition is None or offset is None:
        return None
    return Origin(topic, partition, offset)


def _number(value: bytes | None) -> int | None:
    return int(value) if value and value.isdigit() and len(value) < 19 else None


def _model(value: bytes | None, headers: Headers) -> str | None:
    try:
        if value:
            return read_route(value).model
    except WireError:
        pass
    named = dict(headers).get(RequestHeader.MODEL)
    return named.decode(errors="replace") if named else None
