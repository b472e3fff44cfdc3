"""The embedded broker as its users see it: an address while it runs, nothing left when it stopped.

It only puts the parts in order; each part says what it needs where it is written.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from headrace.cli.broker import libs
from headrace.cli.broker.data_dir import DataDir
from headrace.cli.broker.errors import BrokerError
from headrace.cli.broker.java import find_java
from headrace.cli.broker.jvm import KafkaJvm, Profile
from headrace.cli.broker.launch import RunningKafka, launch
from headrace.cli.broker.security import BrokerSecurity

_MAX_PORT = 65535


def _tell_nobody(_line: str) -> None:
    """Drop progress."""


class EmbeddedBroker:
    """A real Kafka node on localhost: ``async with EmbeddedBroker() as broker: …``.

    With `data_dir` None its data is temporary; a folder that is given keeps it between runs.
    With `port` 0 a free one is picked. With `security` its clients need TLS, and what else it
    asks for. `on_progress` hears one line per step.

    **Concurrency:** start from the main thread, since Kafka is killed when the thread that
    started it ends (also when this process dies by kill -9, on Linux). `start`, `wait` and
    `stop` may run on different event loops, one after the other.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        data_dir: Path | None = None,
        profile: Profile = "light",
        security: BrokerSecurity | None = None,
        on_progress: Callable[[str], None] = _tell_nobody,
    ) -> None:
        self._wanted_port = port
        self._wanted_data_dir = data_dir
        self._profile: Profile = profile
        self._security = security
        self._tell = on_progress
        self._opened = AsyncExitStack()
        self._kafka: RunningKafka | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address for Kafka clients, ``localhost:PORT``."""
        return f"localhost:{self._running.port}"

    @property
    def data_dir(self) -> Path:
        """The folder with Kafka's data, and its logs in ``logs/``."""
        return self._running.data.path

    @property
    def pid(self) -> int:
        """The process id of Kafka's JVM."""
        return self._running.process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start Kafka and return when it answers; the first start on a machine fetches its jars.

        Raises:
            BrokerError: Java, jars, port or data folder are not as needed, or Kafka failed.
        Cancellation: nothing is left behind.
        """
        if self._kafka is not None:
            raise RuntimeError("the broker is running already")
        if not 0 <= self._wanted_port <= _MAX_PORT:
            raise BrokerError(
                f"{self._wanted_port} is no port; choose one up to {_MAX_PORT}, or 0 for a free one"
            )
        async with AsyncExitStack() as opened:
            java = await asyncio.to_thread(find_java)
            jars = await libs.resolve(self._tell)
            data = DataDir.open(self._wanted_data_dir)
            opened.callback(data.close)
            await data.lock()
            jvm = KafkaJvm.with_profile(java, jars, self._profile)
            self._kafka = await launch(jvm, data, self._wanted_port, self._security, self._tell)
            opened.push_async_callback(self._kafka.stop)
            self._opened = opened.pop_all()

    async def stop(self) -> None:
        """Stop Kafka (SIGTERM, 20 s of patience, SIGKILL) and remove a temporary data folder.

        Stopping twice is allowed. Cancellation: Kafka is killed at once.
        """
        self._kafka = None
        await self._opened.aclose()

    async def wait(self) -> None:
        """Wait for the end of Kafka, which is an error as long as nobody called `stop`.

        Raises:
            KafkaProcessError: Kafka ended by itself.
        Cancellation: Kafka runs on.
        """
        raise await self._running.fail()

    @property
    def _running(self) -> RunningKafka:
        if self._kafka is None:
            raise RuntimeError("the broker is not running")
        return self._kafka
