"""A broker that stops answering in the middle of things: one of our own, frozen by signal."""

import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.cli.broker import EmbeddedBroker
from headrace.publisher import (
    BrokerUnreachable,
    InferenceClient,
    InferenceFailed,
    KafkaConnection,
    ModelPublisher,
    OutcomeUnknown,
)
from headrace.publisher.clients import AIOKafkaProducer
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs
from tests.fakes.responder import Responder
from tests.fakes.saved_models import write_saved_model


@dataclass(frozen=True)
class Freezing(KafkaConnection):
    """A connection whose broker stops the moment a producer is open."""

    broker_pid: int = 0

    @asynccontextmanager
    async def producer(self, **options: object) -> AsyncGenerator[AIOKafkaProducer, None]:
        """Open a producer, then stop the broker."""
        async with KafkaConnection.producer(self, **options) as producer:
            os.kill(self.broker_pid, signal.SIGSTOP)
            yield producer


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    """A broker that may be frozen, and is thawed again."""
    async with EmbeddedBroker() as started:
        try:
            yield started
        finally:
            os.kill(started.pid, signal.SIGCONT)


async def test_says_that_the_outcome_is_unknown(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Sent and not confirmed is neither success nor failure; publishing again settles it."""
    model = write_saved_model(tmp_path / "model")
    connection = Freezing(broker.bootstrap_servers, broker_pid=broker.pid)
    async with ModelPublisher(connection, store=str(tmp_path / "store")) as publisher:
        with pytest.raises(OutcomeUnknown, match="may or may not be in the log"):
            await publisher.publish("ranker", 1, model, timeout=0.5)
    impatient = KafkaConnection(broker.bootstrap_servers, 0.5)
    async with ModelPublisher(impatient, store=str(tmp_path / "store")) as publisher:
        with pytest.raises(BrokerUnreachable, match=r"within 0\.5 s"):
            await publisher.publish("ranker", 1, model)
    os.kill(broker.pid, signal.SIGCONT)
    patient = KafkaConnection(broker.bootstrap_servers)
    async with ModelPublisher(patient, store=str(tmp_path / "store")) as publisher:
        assert (await publisher.publish("ranker", 1, model)).version == 1


async def test_requests_outlive_a_pause_of_the_broker(broker: EmbeddedBroker) -> None:
    """Callers end at their deadlines while it lasts; the client goes on afterwards."""
    connection = KafkaConnection(broker.bootstrap_servers)
    await ensure_topics(connection, specs(Topics(), request_partitions=1))
    async with InferenceClient(connection) as client:
        os.kill(broker.pid, signal.SIGSTOP)
        with pytest.raises(InferenceFailed, match="DEADLINE_EXCEEDED"):
            await client.infer("ranker", {"x": [1.0]}, timeout=0.3)
        results = await client.infer_many([("ranker", {"x": [1.0]})] * 3, timeout=0.3)
        assert {str(result)[:17] for result in results} == {"DEADLINE_EXCEEDED"}
        os.kill(broker.pid, signal.SIGCONT)
        async with Responder(connection, Topics(), 1).answering():
            answer = await client.infer("ranker", {"x": [5.0]}, timeout=30)
        assert answer.outputs["y"].tolist() == [4.5]
