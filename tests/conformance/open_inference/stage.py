"""A started node that foreign clients ask from any thread and any event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from headrace.publisher import ModelPublisher
from tests.e2e.rig import NodeProcess, Site, deployment

T = TypeVar("T")

PATIENCE_SECONDS = 90


@dataclass(frozen=True)
class Stage:
    """A node that is ready, and a publisher to it.

    **Concurrency:** any thread; the publisher is used by `run` only.
    """

    site: Site
    node: NodeProcess
    publisher: ModelPublisher
    grpc_port: int
    http_port: int
    loop: asyncio.AbstractEventLoop

    @property
    def address(self) -> str:
        """Where gRPC clients find it."""
        return f"127.0.0.1:{self.grpc_port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine beside the node's reader, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)


@contextmanager
def staged(site: Site, **settings: object) -> Generator[Stage, None, None]:
    """Run a node in a process of its own, watched by a thread of its own; it must end cleanly."""
    opened: Future[Stage] = Future()
    closing = asyncio.Event()

    async def hold() -> None:
        try:
            async with deployment(site, **settings) as (node, publisher):
                ports = await node.port(), await node.port("http")
                loop = asyncio.get_running_loop()
                opened.set_result(Stage(site, node, publisher, *ports, loop))
                await closing.wait()
                assert await node.stop() == 0
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            raise

    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(asyncio.run, hold())
        stage = opened.result(PATIENCE_SECONDS)
        try:
            yield stage
        finally:
            stage.loop.call_soon_threadsafe(closing.set)
            held.result(PATIENCE_SECONDS)
