"""Half plus two on the real topics: answers inference requests as a node does, without a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from headrace.consumer.stream.claims import Claims
from headrace.publisher import KafkaConnection
from headrace.publisher.clients import AIOKafkaConsumer, Message, TopicPartition
from headrace.schemas import codec
from headrace.schemas.claims import CLAIM_CONTENT_TYPE
from headrace.schemas.records import InferenceError, InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from headrace.schemas.topics import Topics

_CLAIM = CLAIM_CONTENT_TYPE.encode()
Answer = Callable[[InferenceRequest], InferenceResponse | None]


def half_plus_two(request: InferenceRequest) -> InferenceResponse:
    """Answer with x / 2 + 2, or with NOT_FOUND for any model but ranker."""
    if request.model != "ranker":
        error = InferenceError(code="NOT_FOUND", message="Servable not found")
        return InferenceResponse(model=request.model, error=error)
    y = from_tensor(request.inputs[0]) / 2 + 2
    return InferenceResponse(model="ranker", version=3, outputs=(to_tensor("y", y),))


def keep_silent(request: InferenceRequest) -> None:
    """Take a request and never answer it."""


class Responder:
    """Answers requests like a node: same key, headers back, provenance added."""

    def __init__(
        self,
        connection: KafkaConnection,
        topics: Topics,
        partitions: int,
        claims: Claims | None = None,
    ) -> None:
        self._connection = connection
        self._claims = claims
        self._topics = topics
        self._partitions = partitions
        self.seen: list[Message] = []
        self.arrived = asyncio.Event()

    @asynccontextmanager
    async def answering(self, answer: Answer = half_plus_two) -> AsyncGenerator[None, None]:
        """Answer until the block ends."""
        async with self._connection.consumer(isolation_level="read_committed") as consumer:
            partitions = [TopicPartition(self._topics.requests, n) for n in range(self._partitions)]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, 0)
            async with asyncio.TaskGroup() as group:
                answering = group.create_task(self._answer(consumer, answer))
                try:
                    yield
                finally:
                    answering.cancel()

    async def _answer(self, consumer: AIOKafkaConsumer, answer: Answer) -> None:
        async with self._connection.producer() as producer:
            while True:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        self.seen.append(message)
                        self.arrived.set()
                        value, headers = message.value, dict(message.headers)
                        assert value is not None
                        if self._claims and headers.get("content-type") == _CLAIM:
                            value = await self._claims.fetch(value)
                        response = answer(codec.decode(value, InferenceRequest))
                        if response is None:
                            continue
                        await producer.send(
                            headers["reply-topic"].decode(),
                            key=message.key,
                            value=codec.encode(response),
                            headers=[*message.headers, ("node", b"node-a"), ("version", b"3")],
                        )
