"""Rows become batches that the producer and their topic take."""

from collections.abc import AsyncIterator

import pytest

from headrace.consumer.stream.clients import AIOKafkaProducer
from headrace.consumer.stream.outgoing import Outgoing, Parcel, pack
from headrace.publisher.connection import KafkaConnection

BATCH_BYTES = 10_000


@pytest.fixture
async def producer() -> AsyncIterator[AIOKafkaProducer]:
    """A producer that is not connected: it only packs."""
    arguments = KafkaConnection().client_arguments()
    made = AIOKafkaProducer(**arguments, max_batch_size=BATCH_BYTES)
    yield made
    await made.stop()


def parcel(max_bytes: int, *sizes: int) -> Parcel:
    """Return rows with values of these sizes."""
    made = Parcel("topic", 0, max_bytes)
    made.rows += [(b"key", bytes(size), [("a", b"b")]) for size in sizes]
    return made


def counts(producer: AIOKafkaProducer, packed: Parcel) -> list[int]:
    """Return how many records each batch has."""
    return [batch.record_count() for batch in pack(producer, packed, BATCH_BYTES)]


async def test_many_rows_fill_few_batches(producer: AIOKafkaProducer) -> None:
    """A batch is as large as the producer makes them, and every row is in one."""
    found = counts(producer, parcel(1_000_000, *[1000] * 25))
    assert sum(found) == 25
    assert found == [9, 9, 7]


async def test_a_row_larger_than_a_batch_goes_alone(producer: AIOKafkaProducer) -> None:
    """The producer's batch size is no bound on a record that its topic takes."""
    assert counts(producer, parcel(1_000_000, 10, 50_000, 10, 10)) == [1, 1, 2]


async def test_batches_for_a_narrow_topic_are_smaller(producer: AIOKafkaProducer) -> None:
    """No batch is larger than what the topic takes."""
    row = Outgoing("topic", 0, b"key", bytes(1000), [("a", b"b")]).size_bytes
    assert counts(producer, parcel(3 * row, *[1000] * 7)) == [3, 3, 1]


@pytest.mark.parametrize("sizes", [(5000,), (5000, 10), (10, 5000, 10)])
async def test_no_batch_is_empty(producer: AIOKafkaProducer, sizes: tuple[int, ...]) -> None:
    """A row that cannot fit is the broker's to refuse, and takes no neighbour along."""
    assert counts(producer, parcel(2000, *sizes)) == [1] * len(sizes)
