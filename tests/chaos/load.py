"""Writes uniquely numbered requests at a steady rate, over every outage of Kafka.

A number is given to the producer once and never again, whatever becomes of it. So the request
topic is the truth about what was asked: a number that is there twice, or that was confirmed and is
not there, is a flaw of the run, and a number without confirmation counts when it is there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np

from headrace.publisher import make_request
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.clients import AIOKafkaProducer, KafkaError, RecordPlace
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError
from headrace.schemas.codec import encode
from headrace.schemas.topics import RequestHeader
from tests.chaos.checker import NEIGHBOUR_SHIFT
from tests.chaos.evidence import KIND_HEADER, NUMBER_HEADER, Kind
from tests.models import BRITTLE_VALUE

MODEL: Final = "steady"
BRITTLE_MODEL: Final = "brittle"
_KEYS: Final = 300
_NEIGHBOUR_EVERY: Final = 50
_TICK_SECONDS: Final = 0.01
_MAX_STEP_SECONDS: Final = 0.1
_FLUSH_SECONDS: Final = 60.0


def value(number: int, kind: Kind) -> bytes | None:
    """Return the bytes of a request."""
    plain = _encoded(MODEL, number)
    written: bytes | None = plain
    match kind:
        case Kind.PLAIN:
            pass
        case Kind.NEIGHBOUR:
            written = _encoded(BRITTLE_MODEL, number + NEIGHBOUR_SHIFT)
        case Kind.DEADLY:
            written = _encoded(BRITTLE_MODEL, BRITTLE_VALUE)
        case Kind.MISTYPED:
            written = encode(make_request(MODEL, {"x": np.array([number], np.int64)}))
        case Kind.CUT:
            written = plain[:-3]
        case Kind.EMPTY:
            written = None
        case Kind.GARBAGE | Kind.NAMELESS:
            written = b"\xc3\x01 this is no request %d" % number
    return written


def _encoded(model: str, x: float) -> bytes:
    return encode(make_request(model, {"x": np.array([x], np.float32)}))


class Load:
    """The only writer of requests.

    **Concurrency:** event loop only; `write` is one task, `also` may be called beside it.
    """

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._wanted: deque[Kind] = deque()
        self._has_failed = False
        self.numbers = 0
        self.confirmed: set[int] = set()

    def also(self, kinds: Iterable[Kind]) -> None:
        """Have requests of these kinds written next."""
        self._wanted.extend(kinds)

    async def write(self, *, rate: float, is_enough: Callable[[], bool]) -> None:
        """Write so many a second until it is enough; return when Kafka has them.

        What an outage held up is not made up for: the burst would starve nodes that are just
        starting on the same cores.
        """

        def is_over() -> bool:
            return is_enough() and not self._wanted

        while not is_over():
            # A failed send leaves a gap that the broker never forgives this producer.
            with suppress(KafkaError, PublisherError, TimeoutError), strays_as_errors():
                async with self._connection.producer() as producer:
                    await self._write(producer, rate, is_over)

    async def _write(
        self, producer: AIOKafkaProducer, rate: float, is_over: Callable[[], bool]
    ) -> None:
        """Write with one producer, until it is over or a send has failed."""
        self._has_failed = False
        last, due = time.monotonic(), 0.0
        while not is_over() and not self._has_failed:
            now = time.monotonic()
            due += rate * min(now - last, _MAX_STEP_SECONDS)
            last = now
            while due >= 1 and not is_over() and not self._has_failed:
                due -= 1
                await self._send(producer)
            await asyncio.sleep(_TICK_SECONDS)
        if not self._has_failed:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await producer.flush()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        number = self.numbers
        self.numbers += 1
        kind = Kind.NEIGHBOUR if number % _NEIGHBOUR_EVERY == 0 else Kind.PLAIN
        if self._wanted:
            kind = self._wanted.popleft()
        headers = [(KIND_HEADER, kind.encode()), (NUMBER_HEADER, b"%d" % number)]
        if kind is not Kind.NAMELESS:
            headers.append((RequestHeader.CORRELATION_ID, b"%d" % number))
        future = await producer.send(
            self._topic,
            key=b"key-%d" % (number % _KEYS),
            value=value(number, kind),
            headers=headers,
        )
        future.add_done_callback(partial(self._settle, number))

    def _settle(self, number: int, future: asyncio.Future[RecordPlace]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._has_failed = True
        else:
            self.confirmed.add(number)
