"""Turns answered requests into the records that leave: answers, and dead letters.

Owns headers, addresses and the sizes that topics accept. Sends nothing.
"""

from __future__ import annotations

from typing import Final, cast
from weakref import WeakKeyDictionary

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.choice import Choice
from headrace.consumer.core.codes import Code
from headrace.consumer.stream.clients import Message
from headrace.consumer.stream.content import Content
from headrace.consumer.stream.destinations import Destination, Destinations
from headrace.consumer.stream.letters import cut_to_fit, dead_letter
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing, OutHeaders, Parcel, Row
from headrace.consumer.stream.requests import LARGE_BYTES, Requests
from headrace.schemas.topics import AnswerHeader, RequestHeader
from headrace.schemas.writer_schemas import HEADER_BYTES

_MAX_MESSAGE_CHARACTERS: Final = 1024
_MAX_SHOWN_CHARACTERS: Final = 100
# What takes so much takes every answer whose parts are not large: key, two headers, value, origin.
_ROOMY_BYTES: Final = 5 * LARGE_BYTES


class Replies:
    """Composes what one door sends.

    All answers to one input partition that go to one topic go to one of its partitions, input
    partition modulo width, so that answers keep the order of requests. With as many partitions on
    both sides, which is the default, that is where the key belongs as well.

    **Concurrency:** event loop only.
    """

    def __init__(self, options: StreamOptions, destinations: Destinations) -> None:
        self._responses = options.topics.responses
        self._dead_letters = options.topics.dead_letters
        self._reserved = frozenset(options.written_topics) - {self._responses}
        self._destinations = destinations
        self._nowhere: OutHeaders = [(AnswerHeader.NODE, options.node.encode())]
        self._origins: WeakKeyDictionary[Choice, OutHeaders] = WeakKeyDictionary()

    async def wait_topics(self) -> None:
        """Return once the deployment's own topics exist."""
        await self._destinations.require(self._responses)
        if self._dead_letters:
            await self._destinations.require(self._dead_letters)

    async def address(self, requests: Requests) -> None:
        """Look up where the answers go; refuse the requests whose reply topic cannot be."""
        await self.wait_topics()
        wanted = requests.reply_topics()
        if not wanted:
            return
        allowed = [topic for topic in wanted if not self._is_reserved(topic)]
        found = await self._destinations.find(allowed)
        for topic, indices in wanted.items():
            if found.get(topic) is None:
                flaw = "is reserved" if self._is_reserved(topic) else "does not exist"
                requests.refuse_replies(indices, f"reply-topic {_shown(topic)} {flaw}")

    def compose(self, requests: Requests) -> list[Parcel]:
        """Return the records for a batch that is answered, in the order of its requests."""
        return _Composer(self, requests).parcels()

    def place(self, topic: str | None, message: Message) -> tuple[str, int, Destination | None]:
        """Return where an answer goes: topic (None: the default one), partition, what is known."""
        topic = topic or self._responses
        destination = self._destinations.get(topic)
        partition = message.partition % destination.partitions if destination else 0
        return topic, partition, destination

    def origin(self, choice: Choice | None) -> OutHeaders:
        """Return the headers that say where an answer comes from, made once for each choice."""
        if choice is None:
            return self._nowhere
        known = self._origins.get(choice)
        if known is None:
            known = self._origins[choice] = [
                (AnswerHeader.MODEL, choice.id.model.encode()),
                (AnswerHeader.VERSION, b"%d" % choice.id.version),
                (AnswerHeader.CONTROL_OFFSET, b"%d" % choice.planned.control_offset),
                (AnswerHeader.ARTIFACT_DIGEST, choice.planned.record.digest.encode()),
                *self._nowhere,
                (AnswerHeader.PLAN_OFFSET, b"%d" % choice.plan_offset),
                (AnswerHeader.ROUTED_BY, choice.reason.encode()),
            ]
            if choice.arm:
                known.append((AnswerHeader.ARM, choice.arm.encode()))
        return known

    def letter(self, message: Message, reason: str) -> tuple[Outgoing, Destination | None] | None:
        """Return the dead letter of a request, as large as its topic takes it, if there is one."""
        if not self._dead_letters:
            return None
        topic, partition, destination = self.place(self._dead_letters, message)
        letter = dead_letter(topic, partition, message, reason)
        return cut_to_fit(letter, destination.max_bytes if destination else 0), destination

    def refusal(self, topic: str) -> str | None:
        """Return why a topic takes no answers, in words, if that is so."""
        return self._destinations.refusal(topic)

    def _is_reserved(self, topic: str) -> bool:
        return topic in self._reserved or topic.startswith("__")


class _Composer:
    """The records of one batch, put together by where they go."""

    def __init__(self, replies: Replies, requests: Requests) -> None:
        self._replies = replies
        self._requests = requests
        self._parcels: dict[tuple[str, int], Parcel] = {}
        self._errors: dict[tuple[object, ...], tuple[bytes, OutHeaders]] = {}

    def parcels(self) -> list[Parcel]:
        """Return them."""
        requests = self._requests
        if None in requests.payloads:
            offset = requests.messages[requests.payloads.index(None)].offset
            raise RuntimeError(f"the request at offset {offset} was left unanswered")
        special = requests.large.union(requests.faults, requests.refused_replies, requests.frames)
        if special or not self._add_alike():
            self._add_each(special)
        return [parcel for parcel in self._parcels.values() if parcel.rows]

    def _add_alike(self) -> bool:
        """Add the answers of one version for one place; return whether that is what they are."""
        requests = self._requests
        choices, payloads = requests.choices, cast("list[bytes]", requests.payloads)
        if not payloads or not requests.is_simple or choices.count(choices[0]) < len(choices):
            return False
        rows, is_plain = self._rows(None, requests.messages[0])
        if not is_plain or max(map(len, payloads)) > LARGE_BYTES:
            return False
        origin = self._replies.origin(choices[0])
        rows += [
            (message.key, payload, [*echo, *origin])
            for message, payload, echo in zip(
                requests.messages, payloads, requests.echoes, strict=True
            )
        ]
        return True

    def _add_each(self, special: set[int]) -> None:
        requests = self._requests
        last_choice, last_topic, last_content = object(), object(), object()
        origin, rows = OutHeaders(), list[Row]()
        is_plain = False
        columns = zip(
            requests.messages,
            cast("list[bytes]", requests.payloads),
            requests.echoes,
            requests.choices,
            requests.replies,
            requests.contents,
            strict=True,
        )
        for index, (message, payload, echo, choice, topic, content) in enumerate(columns):
            if choice is not last_choice or content is not last_content:
                last_choice, last_content = choice, content
                origin = _headers(self._replies.origin(choice), content.answer_type)
            if topic is not last_topic:
                last_topic = topic
                rows, is_plain = self._rows(topic, message)
            if is_plain and index not in special and len(payload) <= LARGE_BYTES:
                rows.append((message.key, payload, [*echo, *origin]))
            else:
                self._add_special(index, origin)

    def _rows(self, topic: str | None, message: Message) -> tuple[list[Row], bool]:
        """Return the rows of the parcel for a topic, and whether it takes what fits."""
        place, partition, destination = self._replies.place(topic, message)
        is_roomy = destination is not None and destination.max_bytes >= _ROOMY_BYTES
        is_plain = is_roomy and self._replies.refusal(place) is None
        return self._parcel(place, partition, destination).rows, is_plain

    def _parcel(self, topic: str, partition: int, destination: Destination | None) -> Parcel:
        parcel = self._parcels.get((topic, partition))
        if parcel is None:
            max_bytes = destination.max_bytes if destination else 0
            parcel = self._parcels[topic, partition] = Parcel(topic, partition, max_bytes)
        return parcel

    def _add_special(self, index: int, origin: OutHeaders) -> None:
        """Add an answer that is an error, that may be too large, or that cannot be sent."""
        requests = self._requests
        message, fault = requests.messages[index], requests.faults.get(index)
        if (reason := requests.refused_replies.get(index)) is not None:
            self._add_letter(message, reason)
            return
        echo, value = requests.echoes[index], requests.payloads[index]
        if fault is not None:
            if fault.is_unreadable and not requests.is_addressable(index):
                self._add_letter(message, fault.message)
                return
            value, origin = self._error(index, fault, requests.contents[index])
        self._add_answer(index, self._framed(index, value), [*echo, *origin])
        if fault is not None and fault.is_unreadable:
            self._add_letter(message, fault.message)

    def _add_answer(self, index: int, value: bytes | None, headers: OutHeaders) -> None:
        requests = self._requests
        message = requests.messages[index]
        topic, partition, destination = self._replies.place(requests.replies[index], message)
        outgoing = Outgoing(topic, partition, message.key, value, headers)
        refusal = self._replies.refusal(topic)
        if destination is None:
            words = f"topic {_shown(topic)} does not exist"
        elif refusal is not None:
            words = f"topic {_shown(topic)} refused the answer: {refusal}"
        elif (size := outgoing.size_bytes) <= destination.max_bytes:
            self._add(outgoing, destination)
            return
        else:
            words = (
                f"the answer takes {size} bytes and topic {_shown(topic)} takes "
                f"{destination.max_bytes}: ask for fewer rows or outputs, or raise the topic's "
                "max.message.bytes"
            )
            fault = Fault(Code.RESOURCE_EXHAUSTED, words)
            value, origin = self._error(index, fault, requests.contents[index])
            smaller = outgoing._replace(
                value=self._framed(index, value), headers=[*requests.echoes[index], *origin]
            )
            if smaller.size_bytes <= destination.max_bytes:
                self._add(smaller, destination)
                return
        self._add_letter(message, words)

    def _framed(self, index: int, value: bytes | None) -> bytes | None:
        """Return a value in the frame that its answer is to have."""
        frame = self._requests.frames.get(index)
        return value if frame is None or not value else frame + value[HEADER_BYTES:]

    def _add_letter(self, message: Message, reason: str) -> None:
        letter = self._replies.letter(message, reason)
        if letter is not None:
            self._add(*letter)

    def _add(self, outgoing: Outgoing, destination: Destination | None) -> None:
        parcel = self._parcel(outgoing.topic, outgoing.partition, destination)
        parcel.rows.append((outgoing.key, outgoing.value, outgoing.headers))

    def _error(self, index: int, fault: Fault, content: Content) -> tuple[bytes, OutHeaders]:
        """Return the value and the headers of an answer that says why there is none."""
        choice, route = self._requests.choices[index], self._requests.routes[index]
        about = (fault.code, fault.message, route, choice, content)
        known = self._errors.get(about)
        if known is None:
            value, answer_type = content.encode_error(
                fault.code,
                _cut(fault.message),
                choice.id.model if choice else route.model if route else "",
                choice.id.version if choice else None,
            )
            headers = _headers(self._replies.origin(choice), answer_type)
            code = (AnswerHeader.ERROR_CODE, fault.code.name.encode())
            known = self._errors[about] = (value, [*headers, code])
        return known


def _headers(origin: OutHeaders, content_type: bytes | None) -> OutHeaders:
    if content_type is None:
        return origin
    return [(RequestHeader.CONTENT_TYPE, content_type), *origin]


def _cut(message: str) -> str:
    message = message.encode(errors="replace").decode()
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        return f"{message[:_MAX_MESSAGE_CHARACTERS]}… (cut)"
    return message


def _shown(topic: str) -> str:
    return ascii(topic[:_MAX_SHOWN_CHARACTERS])
