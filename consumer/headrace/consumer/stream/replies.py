"""Turns answered requests into the records that leave: answers, and dead letters.

Owns headers, addresses and the sizes that topics accept. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from weakref import WeakKeyDictionary

from headrace.consumer.core.calls import Answer
from headrace.consumer.core.codes import Code
from headrace.consumer.core.serving_map import Serving
from headrace.consumer.stream.clients import Message
from headrace.consumer.stream.destinations import Destination, Destinations
from headrace.consumer.stream.letters import cut_to_fit, dead_letter
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.stream.outgoing import Outgoing, OutHeaders, Shipment
from headrace.consumer.stream.requests import Headers, Requests
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceError, InferenceResponse, Route
from headrace.schemas.topics import AnswerHeader, RequestHeader

_MAX_MESSAGE_CHARACTERS: Final = 1024
_MAX_SHOWN_CHARACTERS: Final = 100
# From which size on a record is measured before it is sent.
_LARGE_BYTES: Final = 16 * 1024
_REPLY_TOPIC: Final = RequestHeader.REPLY_TOPIC
_TRACEPARENT: Final = RequestHeader.TRACEPARENT
_CORRELATION_ID: Final = RequestHeader.CORRELATION_ID


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
        self._origins: WeakKeyDictionary[Serving, OutHeaders] = WeakKeyDictionary()

    async def wait_topics(self) -> None:
        """Return once the deployment's own topics exist."""
        await self._destinations.require(self._responses)
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

    def compose(self, requests: Requests) -> list[Outgoing]:
        """Return the records for a batch that is answered, in the order of its requests."""
        outgoing: list[Outgoing] = []
        refused, routes = requests.refused_replies, requests.routes
        errors: dict[tuple[Answer, Route | None, Serving | None], bytes] = {}
        last_serving, origin = None, self._nowhere
        home = self._partition(self._responses, requests.messages[0])
        everything = zip(
            requests.messages, requests.headers, requests.answers, requests.servings, strict=True
        )
        for index, (message, headers, answer, serving) in enumerate(everything):
            if index in refused:
                outgoing.append(self.letter(message, refused[index]))
                continue
            if answer is None:
                raise RuntimeError(f"the request at offset {message.offset} was left unanswered")
            if answer.is_unreadable and not _is_addressable(headers):
                outgoing.append(self.letter(message, answer.message))
                continue
            value = answer.payload
            if answer.code is not Code.OK:
                about = (answer, routes[index], serving)
                value = errors.get(about) or errors.setdefault(about, _error(*about))
            if serving is not last_serving:
                last_serving, origin = serving, self._origin(serving)
            outgoing.append(self._answer(message, headers, value, origin, home))
            if answer.is_unreadable:
                outgoing.append(self.letter(message, answer.message))
        return outgoing

    def ship(self, outgoing: Iterable[Outgoing], refusals: Mapping[str, str]) -> list[Shipment]:
        """Return the records by where they go, in order, each small enough for its topic.

        An answer that its topic cannot take becomes an error, and a dead letter if that is too
        large as well. What goes to a topic that is gone, or in `refusals` (by topic, in words),
        becomes a dead letter.
        """
        shipments: dict[tuple[str, int], Shipment] = {}
        get = self._destinations.get
        topic, partition, records = "", -1, list[Outgoing]()
        for record in outgoing:
            if record.topic == topic and record.partition == partition and not record.may_be_large:
                records.append(record)
                continue
            destination = get(record.topic)
            if destination is None or record.may_be_large or record.topic in refusals:
                record = self._fitted(record, destination, refusals)  # noqa: PLW2901
            place = topic, partition = record.topic, record.partition
            shipment = shipments.get(place)
            if shipment is None:
                destination = get(topic)
                max_bytes = destination.max_bytes if destination else 0
                shipment = shipments[place] = Shipment(topic, partition, max_bytes, [])
            records = shipment.records
            records.append(record)
        return list(shipments.values())

    def letter(self, message: Message, reason: str) -> Outgoing:
        """Return the dead letter of a request."""
        return dead_letter(
            self._dead_letters, self._partition(self._dead_letters, message), message, reason
        )

    def is_own(self, topic: str) -> bool:
        """Return whether a topic is the deployment's, without which the door cannot go on."""
        return topic in (self._responses, self._dead_letters)

    def _answer(
        self, message: Message, headers: Headers, value: bytes, out: OutHeaders, partition: int
    ) -> Outgoing:
        """Return an answer for the responses topic, or where the request's headers want it."""
        topic, key = self._responses, message.key
        may_be_large = len(value) > _LARGE_BYTES or (key is not None and len(key) > _LARGE_BYTES)
        if headers:
            given = headers.get(_REPLY_TOPIC)
            if given is not None:
                topic = given.decode()
                partition = self._partition(topic, message)
            given = headers.get(_TRACEPARENT)
            if given is not None:
                out = [(_TRACEPARENT, given), *out]
                may_be_large = may_be_large or len(given) > _LARGE_BYTES
            given = headers.get(_CORRELATION_ID)
            if given is not None:
                out = [(_CORRELATION_ID, given), *out]
                may_be_large = may_be_large or len(given) > _LARGE_BYTES
        return Outgoing(topic, partition, key, value, out, message, False, may_be_large)

    def _partition(self, topic: str, message: Message) -> int:
        destination = self._destinations.get(topic)
        return message.partition % destination.partitions if destination else 0

    def _origin(self, serving: Serving | None) -> OutHeaders:
        """Return the headers that say where an answer comes from, made once per version."""
        if serving is None:
            return self._nowhere
        known = self._origins.get(serving)
        if known is None:
            known = self._origins[serving] = [
                (AnswerHeader.MODEL, serving.id.model.encode()),
                (AnswerHeader.VERSION, b"%d" % serving.id.version),
                (AnswerHeader.CONTROL_OFFSET, b"%d" % serving.planned.control_offset),
                (AnswerHeader.ARTIFACT_DIGEST, serving.planned.record.digest.encode()),
                *self._nowhere,
            ]
        return known

    def _fitted(
        self, record: Outgoing, destination: Destination | None, refusals: Mapping[str, str]
    ) -> Outgoing:
        if record.is_dead_letter:
            return cut_to_fit(record, destination.max_bytes if destination else 0)
        if destination is None:
            words = f"topic {_shown(record.topic)} does not exist"
        elif record.topic in refusals:
            words = f"topic {_shown(record.topic)} refused the answer: {refusals[record.topic]}"
        else:
            size = record.size_bytes
            if size <= destination.max_bytes:
                return record
            words = (
                f"the answer takes {size} bytes and topic {_shown(record.topic)} takes "
                f"{destination.max_bytes}: ask for fewer rows or outputs, or raise the topic's "
                "max.message.bytes"
            )
            smaller = record._replace(value=_too_large(record, words))
            if smaller.size_bytes <= destination.max_bytes:
                return smaller
        letter = self.letter(record.request, words)
        known = self._destinations.get(letter.topic)
        return cut_to_fit(letter, known.max_bytes if known else 0)

    def _is_reserved(self, topic: str) -> bool:
        return topic in self._reserved or topic.startswith("__")


def _error(answer: Answer, route: Route | None, serving: Serving | None) -> bytes:
    """Return the encoded answer that says why there is none."""
    message = answer.message.encode(errors="replace").decode()
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = f"{message[:_MAX_MESSAGE_CHARACTERS]}… (cut)"
    return encode(
        InferenceResponse(
            model=route.model if route else "",
            version=serving.id.version if serving else None,
            error=InferenceError(code=answer.code.name, message=message),
        )
    )


def _too_large(record: Outgoing, words: str) -> bytes:
    origin = dict(record.headers)
    version = origin.get(AnswerHeader.VERSION)
    return encode(
        InferenceResponse(
            model=origin.get(AnswerHeader.MODEL, b"").decode(),
            version=int(version) if version else None,
            error=InferenceError(code=Code.RESOURCE_EXHAUSTED.name, message=words),
        )
    )


def _is_addressable(headers: Headers) -> bool:
    return RequestHeader.CORRELATION_ID in headers or RequestHeader.REPLY_TOPIC in headers


def _shown(topic: str) -> str:
    return ascii(topic[:_MAX_SHOWN_CHARACTERS])
