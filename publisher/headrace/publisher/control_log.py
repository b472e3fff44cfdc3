"""The control log as a publisher uses it: read whole, appended to record by record."""

from __future__ import annotations

import asyncio

from headrace.publisher.clients import KafkaError
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, OutcomeUnknown
from headrace.publisher.history import ControlEntry, read_control
from headrace.publisher.topics import ensure_topics, require_topics
from headrace.schemas import codec
from headrace.schemas.records import ModelConfig, ModelVersion
from headrace.schemas.topics import Topics, specs


class ControlLog:
    """Reads and appends, after making sure once that the topics are there.

    **Concurrency:** one event loop; appends from several tasks are in no particular order.
    """

    def __init__(self, connection: KafkaConnection, topics: Topics, *, create_topics: bool) -> None:
        self._connection = connection
        self._topics = topics
        self._create_topics = create_topics
        self._has_topics = False

    async def read(self) -> list[ControlEntry]:
        """Return the whole log; raises as `read_control` and `ensure_topics`."""
        await self._ensure_topics()
        return await read_control(self._connection, self._topics)

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
            OutcomeUnknown: not confirmed within `timeout_seconds`; it may still arrive.

        Cancellation: as for OutcomeUnknown, the record may still arrive.
        """
        await self._ensure_topics()
        value = None if record is None else codec.encode(record)
        async with self._connection.producer() as producer:
            try:
                async with asyncio.timeout(timeout_seconds):
                    topic = self._topics.control
                    sent = await producer.send(topic, value=value, key=key, partition=0)
                    return (await sent).offset
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
