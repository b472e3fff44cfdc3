"""Appends to the control log, one confirmed record at a time."""

from __future__ import annotations

import asyncio

from headrace.publisher.clients import KafkaError
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import BrokerRefused, OutcomeUnknown
from headrace.publisher.topics import require_topics
from headrace.schemas import codec
from headrace.schemas.records import ModelConfig, ModelVersion
from headrace.schemas.topics import Topics


async def append(
    connection: KafkaConnection,
    topics: Topics,
    key: bytes,
    record: ModelVersion | ModelConfig | None,
    *,
    timeout_seconds: float,
) -> int:
    """Append one record, or a tombstone for None, and return its offset.

    A producer of its own carries each record: publishing is rare, and a producer whose send has
    failed once cannot be trusted with the next one (aiokafka leaves a gap in its sequence numbers).

    Raises:
        BrokerUnreachable: no broker answered; nothing was sent.
        BrokerRefused: the broker refused the record; it is not in the log.
        OutcomeUnknown: not confirmed within `timeout_seconds`; it may still arrive.

    Cancellation: as for OutcomeUnknown, the record may still arrive.
    """
    await require_topics(connection, [topics.control])
    value = None if record is None else codec.encode(record)
    async with connection.producer() as producer:
        try:
            async with asyncio.timeout(timeout_seconds):
                sent = await producer.send(topics.control, value=value, key=key, partition=0)
                return (await sent).offset
        except TimeoutError as error:
            raise OutcomeUnknown(
                f"Kafka at {connection.bootstrap_servers} did not confirm {key.decode()!r} within "
                f"{timeout_seconds:g} s: it may or may not be in the log; look with 'headrace "
                "history', or publish the same thing again, which is safe"
            ) from error
        except KafkaError as error:
            raise BrokerRefused(
                f"Kafka at {connection.bootstrap_servers} refused {key.decode()!r} on topic "
                f"{topics.control!r}: {error!r}"
            ) from error
