"""Makes requests of what stands for them, before anything reads a route.

A value that a schema registry framed becomes one in our own encoding, and its answer is to be
framed again. Whatever cannot be used is refused, each record for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RegistryUnavailable
from headrace.consumer.stream.content import AVRO_TYPE, DEFAULT, content_of
from headrace.consumer.stream.registry import Registry, is_framed
from headrace.consumer.stream.requests import Requests
from headrace.schemas.errors import WireError
from headrace.schemas.writer_schemas import HEADER_BYTES


class Intake:
    """What one door does to values before it routes them.

    **Concurrency:** event loop only; any number of batches at once.

    Args:
        registry: whose framing requests may have; None for none.
        default_topic: where answers go that name no reply topic.
    """

    def __init__(self, registry: Registry | None, default_topic: str) -> None:
        self._registry = registry
        self._default_topic = default_topic

    async def prepare(self, requests: Requests) -> None:
        """Replace the values that stand for others; refuse those that cannot be replaced."""
        if self._registry is None:
            return
        framed = [
            index
            for index, value in enumerate(requests.values)
            if value and requests.contents[index] is DEFAULT and is_framed(value)
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
