"""Makes requests of what stands for them.

A value that a schema registry framed becomes one in our own encoding before anything reads its
route, and its answer is to be framed again. A claim becomes the payload that it names for as long
as the model needs it. Whatever cannot be used is refused, each record for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RegistryUnavailable, RequestError, UnreadableRequest
from headrace.consumer.stream.answering import Versions, affinity, answer
from headrace.consumer.stream.byte_budget import ByteBudget
from headrace.consumer.stream.claims import Claims
from headrace.consumer.stream.clients import Message
from headrace.consumer.stream.content import AVRO_TYPE, DEFAULT, content_of, named_route
from headrace.consumer.stream.registry import Registry, is_framed
from headrace.consumer.stream.requests import Requests
from headrace.schemas.claims import CLAIM_CONTENT_TYPE, Claim
from headrace.schemas.errors import WireError
from headrace.schemas.topics import RequestHeader
from headrace.schemas.writer_schemas import HEADER_BYTES


class Intake:
    """What one door does to values before it routes them.

    **Concurrency:** event loop only; any number of batches at once.

    Args:
        registry: whose framing requests may have; None for none.
        claims: what fetches payloads.
        default_topic: where answers go that name no reply topic.
        max_bytes: what claimed payloads may take together while they are with a model.
    """

    def __init__(
        self, registry: Registry | None, claims: Claims, default_topic: str, max_bytes: int
    ) -> None:
        self._registry = registry
        self._claims = claims
        self._default_topic = default_topic
        self._max_bytes = max_bytes
        self._budget = ByteBudget(max_bytes)

    async def models(self, messages: Sequence[Message]) -> list[str | None]:
        """Return which model each record asks for; None for one that is no request.

        A claim says so in a header: its payload is not fetched for that.

        Raises:
            RegistryUnavailable: a framed value cannot be read now.
        """
        found = [_model(message, message.value) for message in messages]
        if self._registry is None:
            return found
        unread = [
            index
            for index, message in enumerate(messages)
            if found[index] is None and message.value and is_framed(message.value)
        ]
        values = await self._registry.unframe([messages[index].value or b"" for index in unread])
        for index, value in zip(unread, values, strict=True):
            if isinstance(value, RegistryUnavailable):
                raise value
            if isinstance(value, bytes):
                found[index] = _model(messages[index], value)
        return found

    async def follow_claims(self, requests: Requests, versions: Versions) -> None:
        """Fetch each claimed payload, have it answered, and let go of it."""
        async with asyncio.TaskGroup() as tasks:
            for index in requests.claims:
                if requests.payloads[index] is None:
                    tasks.create_task(self._follow(requests, index, versions))

    async def _follow(self, requests: Requests, index: int, versions: Versions) -> None:
        value, deadline = requests.values[index], requests.deadlines[index]
        reserved = 0
        try:
            await _wait_version(requests, index, versions)
            claim = Claim.decode(value or b"")
            requests.contents[index] = content_of((claim.content_type or "").encode() or None)
            size = min(claim.size_bytes, self._max_bytes)
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._budget.acquire(size)
            reserved = size
            requests.values[index] = await self._claims.fetch(value or b"", deadline=deadline)
            kind = requests.kind(index)
            if kind is not None:
                await answer(requests, {kind: [index]}, versions)
        except TimeoutError:
            words = "the deadline passed while the payload waited for its turn to be fetched"
            requests.refuse(index, Fault(Code.DEADLINE_EXCEEDED, words))
        except WireError as error:
            requests.refuse(index, Fault(Code.INVALID_ARGUMENT, str(error), is_unreadable=True))
        except RequestError as error:
            unreadable = isinstance(error, UnreadableRequest)
            requests.refuse(index, Fault(error.code, str(error), unreadable))
        finally:
            requests.values[index] = value
            if reserved:
                self._budget.release(reserved)

    async def prepare(self, requests: Requests) -> None:
        """Take values out of a registry's frames; refuse those that cannot be taken out."""
        if self._registry is None:
            return
        framed = [
            index
            for index, value in enumerate(requests.values)
            if value
            and requests.contents[index] is DEFAULT
            and is_framed(value)
            and index not in requests.claims
        ]
        if framed:
            await self._unframe(self._registry, requests, framed)

    async def _unframe(self, registry: Registry, requests: Requests, framed: list[int]) -> None:
        values = await registry.unframe([requests.values[index] or b"" for index in framed])
        for index, value in zip(framed, values, strict=True):
            if isinstance(value, bytes):
                requests.values[index] = value
            else:
                is_unreadable = isinstance(value, WireError)
                code = Code.INVALID_ARGUMENT if is_unreadable else Code.UNAVAILABLE
                requests.refuse(index, Fault(code, str(value), is_unreadable))
        topics: dict[str, list[int]] = {}
        for index in framed:
            topics.setdefault(requests.replies[index] or self._default_topic, []).append(index)
        for topic, places in topics.items():
            await self._frame_answers(registry, requests, topic, places)

    async def _frame_answers(
        self, registry: Registry, requests: Requests, topic: str, places: Sequence[int]
    ) -> None:
        """Note the frame of the answers; without a registry they say that they are Avro's own."""
        try:
            (frame,) = await registry.frame(topic, [bytes(HEADER_BYTES)])
        except RegistryUnavailable:
            for index in places:
                requests.contents[index] = content_of(AVRO_TYPE)
            return
        for index in places:
            requests.frames[index] = frame


async def _wait_version(requests: Requests, index: int, versions: Versions) -> None:
    """Wait for the control record that a claim wants, if its headers say of which model.

    Before its payload takes any room: others could not be fetched meanwhile.
    """
    min_offset, headers = requests.min_offsets.get(index), dict(requests.messages[index].headers)
    if min_offset is None or RequestHeader.MODEL not in headers:
        return
    requests.waiting.add(index)
    try:
        await versions.acquire_at(
            min_offset,
            named_route(headers),
            affinity(requests, index),
            deadline_seconds=requests.deadlines[index],
        )
    finally:
        requests.waiting.discard(index)


def _model(message: Message, value: bytes | None) -> str | None:
    """Return the model that a value asks for, if that can be read."""
    headers = dict(message.headers)
    kind = headers.get(RequestHeader.CONTENT_TYPE)
    if not value:
        return None
    if kind == CLAIM_CONTENT_TYPE.encode():
        named = headers.get(RequestHeader.MODEL)
        return named.decode(errors="replace") if named else None
    try:
        return content_of(kind).read_route(value, headers).model
    except WireError:
        return None
