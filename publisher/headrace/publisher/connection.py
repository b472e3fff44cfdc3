"""How Headrace reaches Kafka: one group of settings, and clients opened and closed in bounded time.

Owns the connection settings of the whole product, the retry at start, the words of "cannot reach",
and the taming of aiokafka's log during outages. Knows no topic and no record.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from headrace.publisher.clients import (
    AIOKafkaAdminClient,
    AIOKafkaConsumer,
    AIOKafkaProducer,
    KafkaConnectionError,
    KafkaError,
)
from headrace.publisher.errors import BrokerRefused, BrokerUnreachable, InvalidArgument
from headrace.publisher.refusals import NO_ANSWER, Refusal, find_refusal
from headrace.publisher.security import KafkaSecurity

BOOTSTRAP_SERVERS_VARIABLE: Final = "HEADRACE_BOOTSTRAP_SERVERS"
DEFAULT_BOOTSTRAP_SERVERS: Final = "localhost:9092"
STOP_TIMEOUT_SECONDS: Final = 5.0
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+):(\d{1,5})")

ClientT = TypeVar("ClientT", AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where Kafka is, how long to look for it, and how to prove who one is.

    **Concurrency:** immutable; share it freely. Opening a client needs a running event loop.

    Units: `connect_timeout_seconds` bounds the whole of opening one client.
    """

    bootstrap_servers: str = DEFAULT_BOOTSTRAP_SERVERS
    connect_timeout_seconds: float = 10.0
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    def __post_init__(self) -> None:
        """Raise InvalidArgument unless every server reads `host:port`, and a secret is safe."""
        hosts: list[str] = []
        for server in self.bootstrap_servers.split(","):
            match = _SERVER.fullmatch(server.strip())
            if match is None or not 0 < int(match[2]) < 65536:
                raise InvalidArgument(
                    f"bootstrap servers {self.bootstrap_servers!r} are not allowed: give "
                    "host:port, or several separated by commas, for example localhost:9092"
                )
            hosts.append(match[1])
        self.security.check_hosts(hosts)

    @classmethod
    def from_environment(
        cls,
        bootstrap_servers: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Return the connection that the variables HEADRACE_BOOTSTRAP_SERVERS and
        HEADRACE_KAFKA_… describe; `bootstrap_servers` goes before its variable.

        Raises:
            InvalidArgument: the variables contradict each other, or lack something.
        """
        variables = os.environ if environment is None else environment
        named = bootstrap_servers or variables.get(BOOTSTRAP_SERVERS_VARIABLE)
        security = KafkaSecurity.from_environment(variables)
        return cls(named or DEFAULT_BOOTSTRAP_SERVERS, security=security)

    def client_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client of this connection takes.

        Raises:
            InvalidArgument: a password, certificate or key file cannot be used.
        """
        servers = [server.strip() for server in self.bootstrap_servers.split(",")]
        return {"bootstrap_servers": servers, **self.security.client_arguments()}

    @asynccontextmanager
    async def consumer(self, **options: object) -> AsyncGenerator[AIOKafkaConsumer, None]:
        """Open a consumer with our safe defaults (no auto-commit), closed on exit."""
        safe = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
        arguments = self.client_arguments() | safe | options
        client = await self.open(lambda: AIOKafkaConsumer(**arguments))
        try:
            yield client
        finally:
            await close(client.stop())

    @asynccontextmanager
    async def producer(self, **options: object) -> AsyncGenerator[AIOKafkaProducer, None]:
        """Open an idempotent producer, closed on exit.

        Cancellation: what was sent and not confirmed may still arrive; exit waits for it no longer
        than `STOP_TIMEOUT_SECONDS`.
        """
        arguments = self.client_arguments() | {"enable_idempotence": True} | options
        client = await self.open(lambda: AIOKafkaProducer(**arguments))
        try:
            yield client
        finally:
            await _close_producer(client)

    @asynccontextmanager
    async def admin(self) -> AsyncGenerator[AIOKafkaAdminClient, None]:
        """Open an admin client, closed on exit."""
        arguments = self.client_arguments() | {"request_timeout_ms": 15_000}
        client = await self.open(lambda: AIOKafkaAdminClient(**arguments))
        try:
            yield client
        finally:
            await close(client.close())

    async def open(self, build: Callable[[], ClientT]) -> ClientT:
        """Build a client and start it, trying again until `connect_timeout_seconds` are over.

        Raises:
            BrokerUnreachable: no broker answered in time.
            BrokerRefused: a broker answered and refused the client.
        """
        deadline = time.monotonic() + self.connect_timeout_seconds
        pause, refusal = 0.1, NO_ANSWER
        while (left := deadline - time.monotonic()) > 0:
            if self.security.sasl_mechanism == "OAUTHBEARER":
                # aiokafka takes a refused token for a login.
                await self._refusal(left)
            client = build()
            try:
                async with asyncio.timeout(left):
                    await _start(client)
                return client
            except KafkaConnectionError:
                # Its text is aiokafka's list of addresses; the reasons only go to its log.
                refusal = await self._refusal(deadline - time.monotonic()) or refusal
            except (TimeoutError, OSError) as error:
                refusal = Refusal(str(error)) if str(error) else refusal
            except KafkaError as error:
                if not error.retriable:
                    raise BrokerRefused(
                        f"Kafka at {self.bootstrap_servers} refused the connection: {error!r}"
                    ) from error
                refusal = Refusal(repr(error))
            await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 2, 1.0)
        raise BrokerUnreachable(
            f"cannot reach Kafka at {self.bootstrap_servers} within "
            f"{self.connect_timeout_seconds:g} s ({refusal.words}): {refusal.advice}"
        )

    async def _refusal(self, seconds: float) -> Refusal | None:
        """Return why no server takes us; raise BrokerRefused if waiting does not help."""
        refusal = await find_refusal(self.client_arguments(), self.security, seconds)
        if refusal and refusal.is_final:
            raise BrokerRefused(
                f"Kafka at {self.bootstrap_servers} {refusal.words}: {refusal.advice}"
            )
        return refusal


async def reachable(connection: KafkaConnection) -> None:
    """Return once a broker answers; raise BrokerUnreachable, in words, when none does in time."""
    async with connection.admin():
        return


async def close(stopping: Awaitable[None]) -> None:
    """Await a client's stop, bounded; a client that cannot say goodbye in time is left."""
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await stopping


async def _start(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Start a client, or close what it had opened by the time it failed."""
    try:
        await client.start()
        # Its tasks must have begun: stop() passes on the cancellation of one that had not, and
        # then leaves the sockets open.
        await asyncio.sleep(0)
    except BaseException:
        await close(client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
        raise


async def _close_producer(producer: AIOKafkaProducer) -> None:
    """Stop a producer; when its broker is away, end its sender too.

    stop() waits for unconfirmed batches, which for an idempotent producer never expire, and a
    cancelled stop() leaves the sender and its sockets running: only private parts can end them.
    """
    try:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await producer.stop()
    except (TimeoutError, KafkaError, OSError):
        parts: Any = producer
        await close(parts._sender.close())  # noqa: SLF001 - see above
        lost = KafkaError("closed before the broker confirmed")
        parts._message_accumulator.fail_all(lost)  # noqa: SLF001 - see above
        await close(parts.client.close())


class _OncePerInterval(logging.Handler):
    """Hands aiokafka's records on to the root logger, each wording once per interval."""

    def __init__(self, interval_seconds: float) -> None:
        super().__init__()
        self._interval_seconds = interval_seconds
        self._last: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        wording = (record.name, str(record.msg))
        last = self._last.get(wording)
        if last is None or now - last >= self._interval_seconds:
            self._last[wording] = now
            logging.getLogger().handle(record)


def quiet_logs(*, level: int = logging.WARNING, interval_seconds: float = 10.0) -> None:
    """Tame aiokafka's loggers: nothing below `level`, and each wording once per interval.

    During an outage aiokafka writes about 60 warnings a second. May be called again; the last
    call counts.
    """
    logger = logging.getLogger("aiokafka")
    logger.setLevel(level)
    logger.propagate = False
    logger.handlers = [_OncePerInterval(interval_seconds)]
