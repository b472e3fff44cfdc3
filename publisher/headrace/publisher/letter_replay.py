"""Puts dead letters back to where they came from, and marks them, in one transaction.

Owns the promise that a letter is replayed once, whatever crashes. Which letters is the caller's
choice, what they are is the business of `letters`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from headrace.publisher.clients import AIOKafkaProducer, KafkaError, RecordPlace
from headrace.publisher.dead_letters import DeadLetters, Survey
from headrace.publisher.errors import BrokerRefused, OutcomeUnknown, UnknownLetter
from headrace.publisher.letters import DeadLetter, LetterId, mark_headers
from headrace.publisher.progress import Tick
from headrace.publisher.topics import partition_counts, require_topics
from headrace.schemas.topics import RequestHeader

# What one transaction carries at most: it is held in memory, and whoever reads the request topic
# waits for its end.
_MAX_LETTERS: Final = 5000
_MAX_BYTES: Final = 32 * 2**20
_TRANSACTION_SECONDS: Final = 30.0
_ABORT_SECONDS: Final = 5.0
# The broker's limit counts, not the client's.
_MAX_REQUEST_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How letters are put back.

    `to_topic` takes them instead of their origins. `keep_deadline` keeps the `deadline-ms` header,
    which has usually passed. `again` also takes letters that were replayed before.
    """

    to_topic: str | None = None
    keep_deadline: bool = False
    again: bool = False


class Fate(StrEnum):
    """What became of a letter: put back, left alone since it had been, or impossible."""

    REPLAYED = "replayed"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One letter's fate: `to` is the topic (and partition, where it is given), `why` in words."""

    id: LetterId
    fate: Fate
    to: str = ""
    why: str = ""


class _Record(NamedTuple):
    """A request on its way back, and the letter that it was."""

    letter: LetterId
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class LetterReplay:
    """Replays letters of an open `DeadLetters`.

    A letter keeps its key, value and headers, and its partition where the topic is its origin. It
    gets the header `replayed-from`, and its mark is committed with it: what was interrupted is
    taken up by doing it again. A replay ends every other that is under way on the same topic.

    **Concurrency:** one task, which also reads the letters meanwhile.
    """

    def __init__(self, letters: DeadLetters, options: ReplayOptions) -> None:
        self._letters = letters
        self._options = options
        self._counts: dict[str, int] = {}

    async def rehearse(self, survey: Survey) -> list[Replayed]:
        """Return what `run` would do, and change nothing; raises as `run` where it reads."""
        return [fate async for _, fate in self._prepare(survey)]

    async def run(self, survey: Survey, tick: Tick) -> list[Replayed]:
        """Replay the letters of a survey.

        Args:
            survey: the letters; what was replayed since it was made is noticed.
            tick: told the letters done so far, and their total.

        Raises:
            BrokerUnreachable: the broker stopped answering; what was not committed is not there.
            BrokerRefused: the broker did not take a record, or another replay took over.
            OutcomeUnknown: the last transaction may or may not be there; the marks will tell.
            TopicMismatch: the topic to replay to does not exist.

        Cancellation: the transaction under way is aborted.
        """
        fates: list[Replayed] = []
        load: list[_Record] = []
        size_bytes = 0
        async with self._letters.connection.producer(
            transactional_id=f"headrace.replay.{self._letters.topic}",
            transaction_timeout_ms=int(_TRANSACTION_SECONDS * 1000),
            max_request_size=_MAX_REQUEST_BYTES,
        ) as producer:
            # Invariant: read after the producer was opened. That ended the transactions of every
            # replay before this one, so what they have marked is all that they have replayed.
            survey = await self._letters.renew(survey)
            async for record, fate in self._prepare(survey):
                if record is not None:
                    load.append(record)
                    size_bytes += len(record.value)
                fates.append(fate)
                if len(load) >= _MAX_LETTERS or size_bytes >= _MAX_BYTES:
                    await self._commit(producer, load)
                    load, size_bytes = [], 0
                tick(len(fates), len(survey.entries))
            await self._commit(producer, load)
        return fates

    async def _prepare(self, survey: Survey) -> AsyncIterator[tuple[_Record | None, Replayed]]:
        await self._look_up_topics(survey)
        todo = [e for e in survey.entries if self._options.again or e.replayed_at_ms is None]
        left = {entry.id for entry in todo}
        for entry in survey.entries:
            if entry.id not in left:
                why = "it was replayed before: --again replays it once more"
                yield None, Replayed(entry.id, Fate.SKIPPED, why=why)
        async for letter in self._letters.read(todo):
            left.discard(letter.entry.id)
            try:
                record = self._record(await self._letters.whole(letter))
            except UnknownLetter as error:
                yield None, Replayed(letter.entry.id, Fate.REFUSED, why=str(error))
            else:
                place = "" if record.partition is None else f"/{record.partition}"
                to = f"{record.topic}{place}"
                yield record, Replayed(letter.entry.id, Fate.REPLAYED, to)
        for gone in sorted(left):
            yield None, Replayed(gone, Fate.REFUSED, why=f"dead letter {gone} is gone meanwhile")

    async def _look_up_topics(self, survey: Survey) -> None:
        connection, to_topic = self._letters.connection, self._options.to_topic
        if to_topic is not None:
            self._counts = await require_topics(connection, [to_topic])
        else:
            origins = {entry.origin.topic for entry in survey.entries if entry.origin}
            self._counts = await partition_counts(connection, origins)

    def _record(self, letter: DeadLetter) -> _Record:
        """Return the request that the letter was; UnknownLetter when it cannot be put back."""
        entry, origin = letter.entry, letter.entry.origin
        topic = self._options.to_topic or (origin.topic if origin else None)
        if topic is None:
            raise UnknownLetter(
                f"dead letter {entry.id} names no origin: --to-topic says where it goes"
            )
        if topic not in self._counts:
            raise UnknownLetter(
                f"dead letter {entry.id} is of topic {topic!r}, which does not exist any more: "
                "make it again, or name another one with --to-topic"
            )
        if letter.value is None:
            raise UnknownLetter(f"dead letter {entry.id} never had a value: nothing to replay")
        # The order of a key holds on its own partition; elsewhere the key chooses, as always.
        is_home = origin is not None and topic == origin.topic
        fits = origin is not None and is_home and origin.partition < self._counts[topic]
        headers = [
            (name, value)
            for name, value in letter.headers
            if self._options.keep_deadline or name != RequestHeader.DEADLINE_MS
        ]
        place = f"{self._letters.topic}/{entry.id.partition}/{entry.id.offset}"
        headers.append((RequestHeader.REPLAYED_FROM, place.encode()))
        partition = origin.partition if origin is not None and fits else None
        return _Record(entry.id, topic, partition, entry.key, letter.value, headers)

    async def _commit(self, producer: AIOKafkaProducer, load: Sequence[_Record]) -> None:
        if not load:
            return
        is_committing = False
        try:
            async with asyncio.timeout(_TRANSACTION_SECONDS):
                await producer.begin_transaction()
                # Invariant: every confirmation is waited for. aiokafka commits a transaction
                # although one of its records was refused.
                await asyncio.gather(*await self._send(producer, load))
                is_committing = True
                await producer.commit_transaction()
        except BaseException as error:
            with suppress(KafkaError, AssertionError, TimeoutError):
                async with asyncio.timeout(_ABORT_SECONDS):
                    await producer.abort_transaction()
            # An AssertionError is what a producer says that was fenced or timed out.
            if not isinstance(error, KafkaError | AssertionError | TimeoutError):
                raise
            raise self._failed(error, len(load), is_committing) from error

    def _failed(
        self, error: Exception, count: int, is_committing: bool
    ) -> OutcomeUnknown | BrokerRefused:
        servers = self._letters.connection.bootstrap_servers
        if is_committing:
            return OutcomeUnknown(
                f"Kafka at {servers} did not confirm the replay of {count} letters ({error!r}): "
                "they were all replayed or none; do the same again, which skips what was"
            )
        return BrokerRefused(
            f"Kafka at {servers} did not take {count} letters back ({error!r}): none of them was "
            "replayed; do the same again, which skips what was replayed before them"
        )

    async def _send(
        self, producer: AIOKafkaProducer, records: Sequence[_Record]
    ) -> list[asyncio.Future[RecordPlace]]:
        sent: list[asyncio.Future[RecordPlace]] = []
        for letter, topic, partition, key, value, headers in records:
            sent.append(
                await producer.send(
                    topic, value=value, key=key, partition=partition, headers=headers
                )
            )
            sent.append(
                await producer.send(
                    self._letters.topic,
                    # aiokafka wants a key or a value; a mark needs neither.
                    key=str(letter).encode(),
                    partition=letter.partition,
                    headers=mark_headers(letter),
                )
            )
            # The first failure is reported; nobody asks the others, and asyncio would complain.
            for future in sent[-2:]:
                future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return sent
