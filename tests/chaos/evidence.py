"""What a run leaves behind, as plain values: what was asked, answered, put aside and published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from headrace.publisher.clients import Message
from headrace.schemas.codec import decode
from headrace.schemas.records import InferenceResponse, Lifecycle, ModelVersion
from headrace.schemas.tensors import from_tensor
from headrace.schemas.topics import AnswerHeader, DeadLetterHeader, RequestHeader

NUMBER_HEADER: Final = "number"
KIND_HEADER: Final = "kind"


class Kind(StrEnum):
    """What a request is, and so what it deserves."""

    PLAIN = "plain"
    """Asks the model whose versions come and go."""
    NEIGHBOUR = "neighbour"
    """A good request to the model that deadly requests go to."""
    GARBAGE = "garbage"
    """A value that is no request, with a correlation id."""
    NAMELESS = "nameless"
    """A value that is no request, without anything that an answer could be addressed by."""
    EMPTY = "empty"
    """No value."""
    CUT = "cut"
    """A readable route, and tensors that end in the middle."""
    MISTYPED = "mistyped"
    """A well-formed request whose input has another dtype than the model's."""
    DEADLY = "deadly"
    """Kills the worker process that computes it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One record of the request topic."""

    number: int
    kind: Kind
    partition: int
    offset: int
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One record of the response topic. `code` is OK when there is a value.

    `version` and `control_offset` are the headers' provenance; `at_ms` is when it was written.
    """

    number: int | None
    partition: int
    offset: int
    key: bytes | None
    at_ms: int
    code: str
    value: float | None
    version: int | None
    control_offset: int | None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """One record of the dead-letter topic; partition and offset are those of the request."""

    number: int | None
    partition: int
    offset: int
    position: int


@dataclass(frozen=True, slots=True)
class VersionEvent:
    """One event of the control topic about the model whose versions come and go."""

    offset: int
    at_ms: int
    version: int
    is_published: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """A whole run.

    `confirmed` are the numbers of the requests that Kafka confirmed to the load. `seen` are the
    places of the answers that a reader saw while the run went on, None without such a reader.
    """

    requests: Sequence[Request]
    answers: Sequence[Answer]
    letters: Sequence[Letter]
    events: Sequence[VersionEvent]
    confirmed: frozenset[int] = frozenset()
    seen: frozenset[tuple[int, int]] | None = None

    def since(self, number: int) -> Evidence:
        """Return what is about the requests from a number on, as if it were a run of its own."""
        return replace(
            self,
            requests=[each for each in self.requests if each.number >= number],
            answers=[each for each in self.answers if each.number is None or each.number >= number],
            letters=[each for each in self.letters if each.number is None or each.number >= number],
            confirmed=frozenset(each for each in self.confirmed if each >= number),
            seen=None,
        )


def requests(messages: Iterable[Message]) -> list[Request]:
    """Return what was asked."""
    found: list[Request] = []
    for message in messages:
        headers = dict(message.headers)
        number, kind = int(headers[NUMBER_HEADER]), Kind(headers[KIND_HEADER].decode())
        found.append(Request(number, kind, message.partition, message.offset, message.key))
    return found


def answers(messages: Iterable[Message]) -> list[Answer]:
    """Return what was answered; raises WireError for a record that is no answer."""
    return [_answer(message) for message in messages]


def letters(messages: Iterable[Message]) -> list[Letter]:
    """Return what was put aside."""
    found: list[Letter] = []
    for message in messages:
        headers = dict(message.headers)
        origin = (
            int(headers[DeadLetterHeader.ORIGIN_PARTITION]),
            int(headers[DeadLetterHeader.ORIGIN_OFFSET]),
        )
        found.append(Letter(_number(headers.get(NUMBER_HEADER)), *origin, message.offset))
    return found


def version_events(messages: Iterable[Message], model: str) -> list[VersionEvent]:
    """Return the events about one model, in the log's order."""
    found: list[VersionEvent] = []
    for message in messages:
        if message.value is None or not (message.key or b"").startswith(
            f"version/{model}/".encode()
        ):
            continue
        record = decode(message.value, ModelVersion)
        is_published = record.lifecycle is Lifecycle.PUBLISHED
        found.append(VersionEvent(message.offset, message.timestamp, record.version, is_published))
    return found


def _answer(message: Message) -> Answer:
    headers = dict(message.headers)
    response = decode(message.value or b"", InferenceResponse)
    value = None
    if response.error is None:
        [output] = response.outputs
        value = float(from_tensor(output).item())
    return Answer(
        number=_number(headers.get(RequestHeader.CORRELATION_ID)),
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        at_ms=message.timestamp,
        code=response.error.code if response.error else "OK",
        value=value,
        version=_number(headers.get(AnswerHeader.VERSION)),
        control_offset=_number(headers.get(AnswerHeader.CONTROL_OFFSET)),
        node=headers.get(AnswerHeader.NODE, b"").decode(),
    )


def _number(header: bytes | None) -> int | None:
    return None if header is None else int(header)
