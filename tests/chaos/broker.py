"""A real Kafka that is killed, frozen and started again on the same data and the same port."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.cli.broker import EmbeddedBroker


class MortalBroker:
    """One Kafka node; an async context manager.

    **Concurrency:** event loop only. One fault at a time: who wants to be the next one asks
    `is_busy` first, or waits.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._broker = EmbeddedBroker(data_dir=data_dir)
        self._turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def opened(cls, data_dir: Path) -> AsyncGenerator[MortalBroker, None]:
        """Run a broker on a data folder; it is stopped on exit, whatever was done to it."""
        broker = cls(data_dir)
        await broker._broker.start()
        try:
            yield broker
        finally:
            await broker._broker.stop()

    @property
    def bootstrap_servers(self) -> str:
        """Its address, the same for its whole life."""
        return self._broker.bootstrap_servers

    @property
    def is_busy(self) -> bool:
        """Whether a fault is under way."""
        return self._turn.locked()

    async def wait_well(self) -> None:
        """Return when no fault is under way."""
        async with self._turn:
            return

    async def kill(self, *, down_seconds: float) -> None:
        """Kill it with SIGKILL and start it again after a while; return when it answers."""
        async with self._turn:
            port = int(self.bootstrap_servers.rpartition(":")[2])
            os.kill(self._broker.pid, signal.SIGKILL)
            await self._broker.stop()
            await asyncio.sleep(down_seconds)
            self._broker = EmbeddedBroker(port=port, data_dir=self._data_dir)
            await self._broker.start()

    async def freeze(self, *, seconds: float) -> None:
        """Stop it with SIGSTOP for a while."""
        async with self._turn:
            os.kill(self._broker.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(self._broker.pid, signal.SIGCONT)
