"""Calls in which a client asks many times: what is asked at once runs at once, answers keep order.

A stream may live as long as its client. It bounds what is unanswered, so a client that does not
read its answers is not read either, and it ends when the door closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Final

import grpc

from headrace.consumer.rpc.statuses import Context

Ask = Callable[[bytes, Context], Awaitable[bytes]]
"""Returns the answer to one request; what is wrong with a request is an answer, too."""

MAX_UNANSWERED: Final = 64
MAX_UNANSWERED_BYTES: Final = 64 * 2**20
"""Of one stream. A single request may be larger."""


class Streams:
    """All open streams of one method.

    **Concurrency:** event loop only.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._readers: set[asyncio.Task[None]] = set()

    def handler(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return gRPC's handler of the method."""
        return grpc.stream_stream_rpc_method_handler(self._converse)

    def close(self) -> None:
        """Read nothing more; each stream ends with UNAVAILABLE after the answers to what it read.

        An end without an error would leave a client waiting for answers that will not come.
        """
        for reader in self._readers:
            reader.cancel()

    async def _converse(self, requests: AsyncIterable[bytes], context: Context) -> None:
        """Answer one stream.

        Cancellation: the client is gone; requests that have not reached the worker are dropped.
        """
        unanswered = _Unanswered()
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(requests, context, unanswered, tasks))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
            while (answer := await unanswered.oldest()) is not None:
                await context.write(await answer)
                unanswered.drop_oldest()
        if reader.cancelled():
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the node is stopping: open a stream to another one"
            )

    async def _read(
        self,
        requests: AsyncIterable[bytes],
        context: Context,
        unanswered: _Unanswered,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Begin to answer requests as they come, while there is room for them."""
        try:
            async for request in requests:
                await unanswered.wait_room(len(request))
                answer = tasks.create_task(self._answer(request, context))
                unanswered.add(answer, len(request))
        finally:
            unanswered.end()

    async def _answer(self, request: bytes, context: Context) -> bytes:
        return await self._ask(request, context)


class _Unanswered:
    """The requests of one stream whose answers are not written yet, in order, and their bound.

    **Concurrency:** event loop only; one task adds, another one drops.
    """

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[asyncio.Task[bytes], int] | None] = asyncio.Queue()
        self._dropped = asyncio.Event()
        self._count = 0
        self._size_bytes = 0
        self._oldest_bytes = 0

    async def wait_room(self, size_bytes: int) -> None:
        """Return when there is room for a request."""
        while self._count and not self._has_room(size_bytes):
            self._dropped.clear()
            await self._dropped.wait()

    def add(self, answer: asyncio.Task[bytes], size_bytes: int) -> None:
        """Remember a request by the task that answers it."""
        self._count += 1
        self._size_bytes += size_bytes
        self._waiting.put_nowait((answer, size_bytes))

    def end(self) -> None:
        """Let `oldest` return None after what was added."""
        self._waiting.put_nowait(None)

    async def oldest(self) -> asyncio.Task[bytes] | None:
        """Return the task that answers the oldest request, or None when all are answered."""
        waiting = await self._waiting.get()
        if waiting is None:
            return None
        answer, self._oldest_bytes = waiting
        return answer

    def drop_oldest(self) -> None:
        """Forget the request that `oldest` returned."""
        self._count -= 1
        self._size_bytes -= self._oldest_bytes
        self._dropped.set()

    def _has_room(self, size_bytes: int) -> bool:
        return (
            self._count < MAX_UNANSWERED and self._size_bytes + size_bytes <= MAX_UNANSWERED_BYTES
        )
