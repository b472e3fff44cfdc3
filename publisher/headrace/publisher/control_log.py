"""The control log as a publisher uses it: read whole, appended to record by record, signed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import structlog

from headrace.publisher.clients import KafkaError, RecordPlace
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, LogConflict, NotTrusted, OutcomeUnknown
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.gate import LOG_APPEND_TIME, Gate, model_of
from headrace.publisher.history import ControlEntry, read_control
from headrace.publisher.signing import MAX_GENERATION, Headers, SigningKey
from headrace.publisher.topics import ensure_topics, require_topics
from headrace.schemas import codec
from headrace.schemas.records import ModelConfig, ModelVersion
from headrace.schemas.topics import Topics, specs

_LOG: Final = structlog.get_logger(__name__)
# How long an event may take from its signature into the log. Afterwards nobody can write it again,
# not even where compaction has removed the newer events that tell it for an old one.
_VALIDITY_MS: Final = 300_000
_TRIES: Final = 8


@dataclass(slots=True)
class _Seen:
    """How far the log was read, and the highest generation of each model up to there."""

    end: int = -1
    highest: dict[str, int] = field(default_factory=dict[str, int])


class ControlLog:
    """Reads and appends, after making sure once that the topics are there.

    **Concurrency:** one event loop; appends from several tasks are in no particular order.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topics: Topics,
        *,
        create_topics: bool,
        security: EventSecurity | None = None,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._create_topics = create_topics
        self._security = security or EventSecurity()
        self._has_topics = False
        self._seen = _Seen()

    async def read(self) -> list[ControlEntry]:
        """Return the whole log; raises as `read_control` and `ensure_topics`."""
        await self._ensure_topics()
        gate = Gate(self._security.trusted_keys)
        entries = await read_control(self._connection, self._topics, gate)
        end = entries[-1].offset + 1 if entries else 0
        if end >= self._seen.end:  # Another task may have read further meanwhile.
            self._seen = _Seen(end, gate.highest_generations())
        return entries

    async def append(
        self, key: bytes, record: ModelVersion | ModelConfig | None, timeout_seconds: float
    ) -> int:
        """Append one record, or a tombstone for None, and return its offset.

        A producer of its own carries each record: publishing is rare, and a producer whose send
        has failed once cannot be trusted with the next one (aiokafka leaves a gap in its sequence
        numbers).

        Raises:
            BrokerUnreachable: no broker answered; nothing was sent.
            BrokerRefused: the broker refused the record; it is not in the log.
            NotTrusted: the fleet would refuse the event (nothing was sent), or will.
            LogConflict: others kept overtaking the event; the fleet does not follow it.
            OutcomeUnknown: not confirmed within `timeout_seconds`; it may still arrive.

        Cancellation: as for OutcomeUnknown, the record may still arrive.
        """
        self._security.check_record(model_of(key) or "", record)
        await self._ensure_topics()
        value = None if record is None else codec.encode(record)
        signing_key = self._security.signing_key
        if signing_key is None:
            return (await self._send(key, value, (), timeout_seconds)).offset
        return await self._append_signed(signing_key, key, value, timeout_seconds)

    async def _append_signed(
        self, signing_key: SigningKey, key: bytes, value: bytes | None, timeout_seconds: float
    ) -> int:
        """Sign and append, until the event stands where its signature lets it count.

        The log cannot be locked: a rival's event of the same model may get in before ours with a
        generation as high, or our clock may be behind the broker's. Then it is signed anew.
        """
        model = model_of(key) or ""
        now_ms = time.time_ns() // 1_000_000
        if self._seen.end < 0:
            await self.read()
        for _ in range(_TRIES):
            seen = self._seen
            generation = _following(model, seen)
            not_after_ms = now_ms + _VALIDITY_MS
            headers = signing_key.sign(key, value, generation=generation, not_after_ms=not_after_ms)
            place = await self._send(key, value, headers, timeout_seconds)
            time_ms = self._time_ms(place)
            if time_ms > not_after_ms:
                why, now_ms = "stale", time_ms
            elif place.offset != seen.end and await self._is_overtaken(model, generation, place):
                why = "overtaken"
            else:
                seen.end = max(seen.end, place.offset + 1)
                seen.highest[model] = generation
                return place.offset
            _LOG.info("control_event.signed_again", model=model, reason=why, offset=place.offset)
        raise LogConflict(
            f"{_TRIES} times other events of model {model!r} came before {key.decode()!r}: the "
            "fleet does not follow it; try again"
        )

    async def _is_overtaken(self, model: str, generation: int, place: RecordPlace) -> bool:
        """Return whether an event of the model that is before ours makes ours an old one."""
        return any(
            entry.offset < place.offset
            and entry.generation >= generation
            and model_of(entry.key) == model
            for entry in await self.read()
        )

    def _time_ms(self, place: RecordPlace) -> int:
        """Return the broker's time of a record."""
        if place.timestamp_type != LOG_APPEND_TIME or place.timestamp is None:
            raise NotTrusted(
                f"topic {self._topics.control!r} keeps the time of its writers, so that nodes with "
                f"trusted keys refuse the event at offset {place.offset}: set "
                "message.timestamp.type=LogAppendTime on the topic, and do the same again"
            )
        return place.timestamp

    async def _send(
        self, key: bytes, value: bytes | None, headers: Headers, timeout_seconds: float
    ) -> RecordPlace:
        async with self._connection.producer() as producer:
            try:
                async with asyncio.timeout(timeout_seconds):
                    sent = await producer.send(
                        self._topics.control,
                        value=value,
                        key=key,
                        partition=0,
                        headers=list(headers),
                    )
                    return await sent
            except TimeoutError as error:
                raise OutcomeUnknown(
                    f"Kafka at {self._connection.bootstrap_servers} did not confirm "
                    f"{key.decode()!r} within {timeout_seconds:g} s: it may or may not be in the "
                    "log; look with 'headrace history', or do the same again, which is safe"
                ) from error
            except KafkaError as error:
                raise BrokerRefused(
                    f"Kafka at {self._connection.bootstrap_servers} refused {key.decode()!r} on "
                    f"topic {self._topics.control!r}: {error!r}"
                ) from error

    async def _ensure_topics(self) -> None:
        if self._has_topics:
            return
        if self._create_topics:
            await ensure_topics(self._connection, specs(self._topics))
        else:
            await require_topics(self._connection, [self._topics.control, self._topics.status])
        self._has_topics = True


def _following(model: str, seen: _Seen) -> int:
    generation = seen.highest.get(model, 0) + 1
    if generation > MAX_GENERATION:
        raise LogConflict(
            f"the generations of model {model!r} in the control log are used up: when nobody "
            "trusted wrote the highest, give trusted keys (--trusted-keys), and it does not count"
        )
    return generation
