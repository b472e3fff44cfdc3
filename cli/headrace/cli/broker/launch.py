"""From a locked data folder to a Kafka that answers: format once, start, watch, ask."""

import asyncio
import base64
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from headrace.cli.broker import ports, readiness
from headrace.cli.broker.config import Ports
from headrace.cli.broker.data_dir import DataDir
from headrace.cli.broker.errors import DataDirError, KafkaProcessError
from headrace.cli.broker.jvm import KafkaJvm
from headrace.cli.broker.process import TetheredProcess
from headrace.cli.broker.security import BrokerSecurity

_FORMAT_SECONDS = 60.0
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_PORT_ATTEMPTS = 3
# SIGTERM makes Kafka shut down in order, and the JVM then exits with 128 + 15.
_ORDERLY_EXITS = (0, 143)


@dataclass(frozen=True)
class RunningKafka:
    """A Kafka that has answered.

    **Concurrency:** one owner; the waits may run on any event loop.
    """

    process: TetheredProcess
    jvm: KafkaJvm
    data: DataDir
    port: int

    async def stop(self) -> None:
        """Stop Kafka, in order if it can within 20 s.

        Cancellation: Kafka is killed at once.
        """
        ended_well = False
        try:
            exit_code = await self.process.stop(grace_seconds=_STOP_SECONDS)
            ended_well = exit_code in _ORDERLY_EXITS
        finally:
            if self.jvm.archive:
                self.jvm.archive.settle(ended_well=ended_well)

    async def fail(self) -> KafkaProcessError:
        """Wait until Kafka ends by itself, and return why."""
        await self.process.wait()
        return _failure(self.process, self.data, "Kafka ended by itself")


async def launch(
    jvm: KafkaJvm,
    data: DataDir,
    wanted_port: int,
    security: BrokerSecurity | None,
    tell: Callable[[str], None],
) -> RunningKafka:
    """Start Kafka on `wanted_port` (0: any free one) and return when it answers.

    Raises:
        PortTakenError: another program listens on `wanted_port`.
        KafkaProcessError: Kafka ended, or did not answer within a minute.
    Cancellation: Kafka is killed.
    """
    attempt = 1
    while True:
        if wanted_port:
            await ports.claim(wanted_port)
        chosen = _choose_ports(wanted_port, security)
        try:
            data.write_config(chosen, security)
        except OSError as error:
            raise DataDirError(f"cannot write into {data.path}: {error.strerror}") from error
        await _format_once(jvm, data, security, tell)
        where = f"localhost:{chosen.clients}"
        tell(f"starting Kafka {jvm.libs.version} on {where}, data in {data.path}")
        try:
            return await _start(jvm, data, chosen)
        except KafkaProcessError as error:
            # Between the look at a port and Kafka's bind another program may have taken it.
            is_clash = any("Address already in use" in line for line in error.log_tail)
            if not is_clash or attempt == _PORT_ATTEMPTS:
                raise
            attempt += 1


def _choose_ports(wanted_port: int, security: BrokerSecurity | None) -> Ports:
    controller, picked, plain = ports.pick_free(3)
    clients = wanted_port or picked
    return Ports(clients=clients, controller=controller, plain=plain if security else clients)


async def _format_once(
    jvm: KafkaJvm, data: DataDir, security: BrokerSecurity | None, tell: Callable[[str], None]
) -> None:
    if data.cluster_id:
        return
    tell(f"formatting {data.path} for Kafka")
    users = security.format_arguments() if security else []
    process = TetheredProcess.spawn(
        jvm.format_command(_new_cluster_id(), *users), cwd=data.path, output=data.console_log
    )
    try:
        async with asyncio.timeout(_FORMAT_SECONDS):
            await process.wait()
    except TimeoutError:
        raise _failure(process, data, "Kafka's format tool did not finish in a minute") from None
    finally:
        await process.stop(grace_seconds=0)
    if process.exit_code != 0 or not data.cluster_id:
        raise _failure(process, data, f"Kafka could not format {data.path}")


def _new_cluster_id() -> str:
    """Sixteen random bytes in the alphabet that Kafka uses for its ids."""
    # Not with "-" first, which the format tool would take for an option.
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()).startswith("-"):
        pass
    return name.rstrip("=")


async def _start(jvm: KafkaJvm, data: DataDir, chosen: Ports) -> RunningKafka:
    process = TetheredProcess.spawn(
        jvm.broker_command(), cwd=data.path, output=data.console_log, keep_fds=[data.lock_fd]
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            await _until_answers(process, data, chosen.plain)
    except TimeoutError:
        await process.stop(grace_seconds=0)
        raise _failure(process, data, "Kafka did not answer within a minute") from None
    except BaseException:
        await process.stop(grace_seconds=0)
        raise
    return RunningKafka(process, jvm, data, chosen.clients)


async def _until_answers(process: TetheredProcess, data: DataDir, port: int) -> None:
    while process.exit_code is None:
        if await readiness.accepts(port) and await readiness.answers(port, data.cluster_id):
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise _failure(process, data, "Kafka did not start")


def _failure(process: TetheredProcess, data: DataDir, what: str) -> KafkaProcessError:
    code = process.exit_code
    # Who is killed by a signal had no time to log why.
    killed_by = signal.Signals(-code).name if code is not None and code < 0 else None
    how = f" (killed by {killed_by})" if killed_by else f" (exit code {code})" if code else ""
    where = "" if data.is_temporary else f"; its logs are in {data.kafka_log.parent}"
    log_tail = [] if killed_by else data.log_tail()
    return KafkaProcessError(f"{what}{how}{where}", exit_code=code, log_tail=log_tail)
