"""When each status record reached a reader of the status topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from benchmarks.measurement import BenchmarkError
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.tail import Tail, tail
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import NodeStatus, ServableState
from headrace.schemas.topics import Topics

_POLL_SECONDS = 0.5
_Key = tuple[str, int, ServableState]


class StatusWatch:
    """Keeps the moment at which each state of each version was first read.

    **Concurrency:** event loop only; one task follows, others wait.

    Units: moments in epoch seconds, which all processes of a machine share.
    """

    def __init__(self, reader: Tail) -> None:
        self._tail = reader
        self._seen: dict[_Key, float] = {}
        self._failures: dict[tuple[str, int], str] = {}
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        """Read on, until cancelled."""
        while True:
            messages = await self._tail.poll(_POLL_SECONDS)
            now = time.time()
            for message in messages:
                if message.value is not None:
                    self._take(message.value, now)
            async with self._changed:
                self._changed.notify_all()

    async def moment(
        self, model: str, version: int, state: ServableState, timeout_seconds: float = 60.0
    ) -> float:
        """Return when the version was first read to be in that state.

        Raises:
            BenchmarkError: the version failed, or did not get there in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(
                    lambda: (
                        (model, version, state) in self._seen or (model, version) in self._failures
                    )
                )
        except TimeoutError:
            raise BenchmarkError(
                f"{model}/{version} was not {state} within {timeout_seconds:g} s"
            ) from None
        if failure := self._failures.get((model, version)):
            raise BenchmarkError(f"{model}/{version} failed: {failure}")
        return self._seen[model, version, state]

    def _take(self, value: bytes, now: float) -> None:
        try:
            servable = codec.decode(value, NodeStatus).servable
        except WireError as error:
            raise BenchmarkError(f"unreadable status record: {error}") from error
        if servable is not None:
            self._seen.setdefault((servable.model, servable.version, servable.state), now)
            if servable.error is not None:
                self._failures[servable.model, servable.version] = servable.error


@asynccontextmanager
async def watching(connection: KafkaConnection) -> AsyncGenerator[StatusWatch, None]:
    """Follow the status topic as long as the context lasts."""
    async with tail(connection, Topics().status) as reader, asyncio.TaskGroup() as tasks:
        watch = StatusWatch(reader)
        following = tasks.create_task(watch.follow())
        try:
            yield watch
        finally:
            following.cancel()
