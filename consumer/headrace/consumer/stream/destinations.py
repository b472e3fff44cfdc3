"""The topics that answers may go to: whether they exist, and what they can take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.stream.clients import (
    TOPIC_KIND,
    ConfigAdmin,
    ConfigResource,
    KafkaError,
)
from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import PublisherError

_LOG: Final = structlog.get_logger(__name__)
# What Kafka takes unless a topic says otherwise.
DEFAULT_MAX_BYTES: Final = 1_048_588
_MAX_SETTING: Final = "max.message.bytes"
_LOOK_TIMEOUT_SECONDS: Final = 15.0
_KNOWN_SECONDS: Final = 60.0
_UNKNOWN_SECONDS: Final = 5.0
_LOOK_INTERVAL_SECONDS: Final = 0.25
# A topic that was made a moment ago may not be in the broker's own picture yet.
_SETTLE_SECONDS: Final = 0.5
_MAX_UNKNOWN: Final = 1000
_MAX_KNOWN: Final = 10_000


class Destination(NamedTuple):
    """One topic that exists. `max_bytes` is the largest batch of records that it takes."""

    topic: str
    partitions: int
    max_bytes: int = DEFAULT_MAX_BYTES


class Destinations:
    """What is known of the topics that records may be written to.

    A topic is looked up when it is first wanted and again once a minute. One that does not exist
    is looked up again when it is wanted 5 s later: a flood of records with made-up names costs
    four look-ups a second, and memory for a thousand names.

    **Concurrency:** event loop only; look-ups are made one at a time.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._known: dict[str, Destination] = {}
        self._unknown: dict[str, float] = {}
        self._missed: dict[str, float] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._looked_at = float("-inf")
        self._tried_at = float("-inf")
        self._looking = asyncio.Lock()

    def get(self, topic: str) -> Destination | None:
        """Return what is known of a topic, without looking."""
        return self._known.get(topic)

    def refuse(self, topic: str, words: str) -> None:
        """Note that a topic refused a record for a reason that trying again does not cure."""
        if len(self._refused) > _MAX_UNKNOWN:
            self._refused.clear()
        self._refused[topic] = (words, time.monotonic() + _KNOWN_SECONDS)

    def refusal(self, topic: str) -> str | None:
        """Return why a topic refuses records, if it has lately."""
        if not self._refused or topic not in self._refused:
            return None
        words, until = self._refused[topic]
        if until < time.monotonic():
            del self._refused[topic]
            return None
        return words

    async def find(self, topics: Iterable[str]) -> dict[str, Destination | None]:
        """Return which of the topics exist, looking at most once.

        While Kafka does not answer, what was known still counts, and the rest is waited for.
        """
        wanted = set(topics)
        pauses = backoff(0.1, 3.0)
        while not self._is_fresh(wanted):
            async with self._looking:
                if self._is_fresh(wanted):
                    break
                if await self._look(wanted) or wanted <= self._known.keys():
                    break
            await asyncio.sleep(next(pauses))
        return {topic: self._known.get(topic) for topic in wanted}

    async def require(self, topic: str) -> Destination:
        """Return a topic of the deployment, waiting with a log line until it exists."""
        pauses = backoff(0.5, 5.0)
        while True:
            found = (await self.find([topic]))[topic]
            if found is not None:
                return found
            _LOG.error("topic.missed", topic=topic)
            await asyncio.sleep(next(pauses))
            self._unknown.pop(topic, None)

    async def look_again(self, topics: Iterable[str]) -> None:
        """Look now, once, for everyone who asks: something was refused that should have fitted."""
        asked_at = time.monotonic()
        async with self._looking:
            if self._tried_at < asked_at:
                await self._look(set(topics))

    def _is_fresh(self, wanted: set[str]) -> bool:
        now = time.monotonic()
        if now - self._looked_at > _KNOWN_SECONDS:
            return False
        return all(t in self._known or self._unknown.get(t, 0.0) > now for t in wanted)

    async def _look(self, wanted: set[str]) -> bool:
        """Look the wanted topics up, and those known; return whether Kafka answered."""
        await asyncio.sleep(self._looked_at + _LOOK_INTERVAL_SECONDS - time.monotonic())
        try:
            with strays_as_errors():
                async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
                    await self._ask(wanted)
        except (KafkaError, PublisherError, TimeoutError) as error:
            _LOG.warning("topics.lookup_failed", reason=str(error) or repr(error))
            return False
        finally:
            self._tried_at = time.monotonic()
        return True

    async def _ask(self, wanted: set[str]) -> None:
        async with self._connection.admin() as opened:
            admin = cast("ConfigAdmin", opened)
            # All topics: naming one in a metadata request may make the broker create it.
            counts = {
                str(topic["topic"]): len(topic["partitions"])
                for topic in await admin.describe_topics(None)
                if topic["partitions"]
            }
            asked = [t for t in wanted | self._known.keys() if t in counts]
            limits = await _limits(admin, asked) if asked else {}
        now = time.monotonic()
        self._looked_at = now
        if len(asked) > _MAX_KNOWN:
            asked = [topic for topic in wanted if topic in counts]
        self._known = {
            topic: Destination(topic, counts[topic], limits.get(topic, DEFAULT_MAX_BYTES))
            for topic in asked
        }
        self._note_missing(wanted - counts.keys(), now)

    def _note_missing(self, topics: set[str], now: float) -> None:
        """Call topics unknown that were missed twice, with some time in between."""
        for names in (self._unknown, self._missed):
            if len(names) > _MAX_UNKNOWN:
                names.clear()
        for topic in topics:
            if now - self._missed.setdefault(topic, now) >= _SETTLE_SECONDS:
                del self._missed[topic]
                self._unknown[topic] = now + _UNKNOWN_SECONDS


async def _limits(admin: ConfigAdmin, topics: list[str]) -> dict[str, int]:
    """Return the topics' `max.message.bytes`; one that may not be read is left out."""
    found: dict[str, int] = {}
    resources = [ConfigResource(TOPIC_KIND, topic) for topic in topics]
    for response in await admin.describe_configs(resources):
        parts: Any = response
        for _code, _words, _kind, name, entries in parts.resources:
            for setting, value, *_ in entries:
                if setting == _MAX_SETTING and value:
                    found[str(name)] = int(value)
    return found
