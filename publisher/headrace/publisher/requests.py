"""Asks a fleet over Kafka: requests to the request topic, answers matched by correlation id.

Owns the life of the client and the deadlines. Sending is the outbox's, matching `outstanding`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from headrace.publisher.claim_store import ClaimStore
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import InferenceFailed, InvalidArgument
from headrace.publisher.inference import (
    Inference,
    Inputs,
    Request,
    make_request,
    routing_headers,
)
from headrace.publisher.outbox import Mailing, Outbox, Outgoing
from headrace.publisher.outstanding import Call, Outstanding, Result
from headrace.publisher.packing import AHEAD, Packed, Packer
from headrace.publisher.replies import replies
from headrace.publisher.topics import require_topics
from headrace.schemas.records import DEFAULT_SIGNATURE
from headrace.schemas.topics import RequestHeader, Topics

# How many requests of one call may gather in batches before they leave.
_FLUSH_EVERY: Final = 1000

Headers = Sequence[tuple[str, bytes]]


class InferenceClient:
    """Sends requests and waits for their answers: `async with InferenceClient(…) as client`.

    It reads the whole response topic from the moment it is opened, without a consumer group, and
    keeps what answers its own requests.

    **Concurrency:** one event loop, any number of callers. At most `max_outstanding` requests wait
    for answers; further ones wait for room, within their own deadline.

    A request of more than `max_request_bytes` is written to `claim_store`, a folder or URI that
    the nodes read too, and a claim on it is sent in its place; without a store it is refused.

    Units: `timeout` in seconds; `max_request_bytes` for key and value together.

    Raises:
        StoreError: there is no file system for the claim store.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        topics: Topics | None = None,
        timeout: float = 30.0,
        max_outstanding: int = 10_000,
        max_request_bytes: int = 1_000_000,
        claim_store: str | None = None,
    ) -> None:
        self._connection = connection
        self._topics = topics or Topics()
        self._timeout = timeout
        self._packer = Packer(max_request_bytes, ClaimStore(claim_store) if claim_store else None)
        self._outstanding = Outstanding(max_outstanding)
        self._outbox = Outbox(
            connection, self._topics.requests, max_request_bytes, self._outstanding.settle
        )
        self._reply_topic = (RequestHeader.REPLY_TOPIC, self._topics.responses.encode())
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the client.

        Raises:
            BrokerUnreachable: no broker answered.
            TopicMismatch: the request or the response topic does not exist.
        """
        requests, responses = self._topics.requests, self._topics.responses
        counts = await require_topics(self._connection, [requests, responses])
        async with AsyncExitStack() as opening:
            # Read before anything is sent: an answer can be as fast as it likes.
            reader = await opening.enter_async_context(
                replies(self._connection, responses, counts[responses])
            )
            await opening.enter_async_context(self._outbox)
            group = await opening.enter_async_context(asyncio.TaskGroup())
            reading = group.create_task(reader.read(self._outstanding))
            opening.callback(reading.cancel)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the client; calls that still wait fail with CANCELLED.

        The caller's exception is not shown to the task group, which would wrap it in a group.
        """
        self._outstanding.fail(InferenceFailed("CANCELLED", "the client was closed"))
        await self._opened.aclose()

    async def infer(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        output_filter: Sequence[str] = (),
        key: bytes | None = None,
        affinity: bytes | None = None,
        min_control_offset: int | None = None,
        timeout: float | None = None,
    ) -> Inference:
        """Ask once and return the answer.

        Args:
            model: the model's name.
            inputs: arrays by input name, or what numpy makes arrays of.
            version: the version wanted; without version and label, the model's routing decides.
            label: the label wanted, instead of a version.
            signature: the signature to call.
            output_filter: the outputs wanted; empty means all.
            key: the record's key: requests of one key are answered in order, and stay on one arm
                of a traffic split.
            affinity: keeps requests on one arm of a traffic split in place of the key.
            min_control_offset: what a publisher returned: the answer is routed as of that event or
                a later one, and waits for the version that it brings.
            timeout: seconds; the deadline travels with the request.

        Raises:
            InvalidArgument: the offset cannot be.
            InferenceFailed: answered with an error, or not in time (DEADLINE_EXCEEDED).

        Cancellation: the request may still be run; its answer is ignored.
        """
        try:
            request = make_request(
                model,
                inputs,
                version=version,
                label=label,
                signature=signature,
                output_filter=output_filter,
            )
        except ValueError as error:
            raise InferenceFailed("INVALID_ARGUMENT", str(error)) from error
        extra = routing_headers(affinity, min_control_offset)
        (result,) = await self._ask([request], [key], timeout, extra)
        if isinstance(result, InferenceFailed):
            raise result
        return result

    async def infer_many(
        self,
        requests: Sequence[Request],
        *,
        keys: Sequence[bytes | None] | None = None,
        min_control_offset: int | None = None,
        timeout: float | None = None,
    ) -> list[Result]:
        """Ask many times and return all results in the order of the requests.

        One that fails is an InferenceFailed in its place and does not disturb the others.

        Args:
            requests: `(model, inputs)` pairs, or what `make_request` returns.
            keys: the records' keys, one for each request.
            min_control_offset: as in `infer`, for all of them.
            timeout: seconds for all of them together.

        Raises:
            InvalidArgument: there are not as many keys as requests, or the offset cannot be.

        Cancellation: requests may still be run; their answers are ignored.
        """
        if keys is not None and len(keys) != len(requests):
            raise InvalidArgument(
                f"{len(keys)} keys for {len(requests)} requests: give each request one, or None"
            )
        extra = routing_headers(None, min_control_offset)
        return await self._ask(requests, keys or [None] * len(requests), timeout, extra)

    async def _ask(
        self,
        requests: Sequence[Request],
        keys: Sequence[bytes | None],
        timeout: float | None,
        extra: Headers,
    ) -> list[Result]:
        seconds = self._timeout if timeout is None else timeout
        deadline_ms = b"%d" % int((time.time() + seconds) * 1000)
        headers = [self._reply_topic, (RequestHeader.DEADLINE_MS, deadline_ms), *extra]
        send = self._send_alone if len(requests) == 1 else self._send_all
        call = Call(len(requests))
        try:
            async with asyncio.timeout(seconds):
                await send(call, requests, keys, headers)
                await call.settled
        except TimeoutError:
            # Whatever has no result by now gets this one; what has one keeps it.
            call.settle_rest(InferenceFailed("DEADLINE_EXCEEDED", f"no answer in {seconds:g} s"))
        except InferenceFailed as failure:
            call.settle_rest(failure)
        finally:
            self._outstanding.abandon(call)
        return [result for result in call.results if result is not None]

    async def _send_alone(
        self,
        call: Call,
        requests: Sequence[Request],
        keys: Sequence[bytes | None],
        headers: Headers,
    ) -> None:
        packed = await self._packer.pack(requests[0], keys[0])
        correlation_id = await self._outstanding.expect(call, 0)
        await self._outbox.send(_record(correlation_id, keys[0], packed, headers))

    async def _send_all(
        self,
        call: Call,
        requests: Sequence[Request],
        keys: Sequence[bytes | None],
        headers: Headers,
    ) -> None:
        mailing = Mailing(self._outbox, await self._outbox.partitions())
        packed: list[Packed | InferenceFailed] = []
        for index, key in enumerate(keys):
            if index % AHEAD == 0:
                ahead = slice(index, index + AHEAD)
                packed = await self._packer.pack_all(requests[ahead], keys[ahead])
            ready = packed[index % AHEAD]
            try:
                if isinstance(ready, InferenceFailed):
                    raise ready
                self._outbox.check(key, ready.value)
            except InferenceFailed as failure:
                call.settle(index, failure)
                continue
            if self._outstanding.is_full or index % _FLUSH_EVERY == 0:
                # Full means that answers must come first, so what asks for them must leave.
                await mailing.flush()
            correlation_id = await self._outstanding.expect(call, index)
            await mailing.add(_record(correlation_id, key, ready, headers))
        await mailing.flush()


def _record(correlation_id: bytes, key: bytes | None, packed: Packed, headers: Headers) -> Outgoing:
    identity = (RequestHeader.CORRELATION_ID, correlation_id)
    return Outgoing(correlation_id, key, packed.value, [identity, *headers, *packed.headers])
