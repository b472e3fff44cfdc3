"""`headrace broker` and the embedded broker: a real Kafka, started, asked, stopped and killed."""

import asyncio
import importlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.broker import BrokerError, EmbeddedBroker
from headrace.cli.broker.errors import KafkaProcessError

# No type information comes with it, and only a few of its calls are made here.
aiokafka: Any = importlib.import_module("aiokafka")
aiokafka_admin: Any = importlib.import_module("aiokafka.admin")
aiokafka_errors: Any = importlib.import_module("aiokafka.errors")

_PROGRAM = "import typer; from headrace.cli.commands.broker import broker; typer.run(broker)"
_PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def _command(
    *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """Run the command as a program of its own; whatever happens, it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await _ended(process)


async def _ready(process: asyncio.subprocess.Process) -> str:
    """Return the bootstrap address of the ready line, the first and only one on standard output."""
    assert process.stdout is not None
    async with asyncio.timeout(_PATIENCE_SECONDS):
        line = (await process.stdout.readline()).decode()
    assert line.startswith("broker.ready bootstrap_servers=localhost:"), line
    return line.removeprefix("broker.ready bootstrap_servers=").removesuffix("\n")


async def _ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Wait for the end; return exit code, the rest of standard output, and standard error."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def _refusal(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command that should be refused; return its one line on standard error."""
    async with _command(*arguments, env=env) as process:
        exit_code, out, err = await _ended(process)
    assert (exit_code, out) == (1, ""), err
    assert err.count("\n") == 1, err
    return err


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def _data_folders(folder: Path, pattern: str = "headrace-broker-*") -> list[Path]:
    return list(folder.glob(pattern))


async def _gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def _create_topic(bootstrap_servers: str, topic: str) -> None:
    admin = aiokafka_admin.AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([aiokafka_admin.NewTopic(topic, 2, 1)])
    finally:
        await admin.close()


async def _produce(bootstrap_servers: str, topic: str, *values: bytes, **options: str) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **options)
    await producer.start()
    try:
        if "transactional_id" in options:
            async with producer.transaction():
                for value in values:
                    await producer.send_and_wait(topic, value, partition=0)
        else:
            for value in values:
                await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def _consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        partition = aiokafka.TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        values: list[bytes] = []
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while len(values) < count:
                batches = await consumer.getmany(partition, timeout_ms=500)
                values += [record.value for record in batches.get(partition, [])]
        return values
    finally:
        await consumer.stop()


async def test_answers_when_its_line_is_printed(unique_name: str) -> None:
    """Topics, plain records and transactions work at once, with no retry by the caller."""
    async with _command("--port", "0") as process:
        servers = await _ready(process)

        await _create_topic(servers, unique_name)
        await _produce(servers, unique_name, b"plain")
        await _produce(servers, unique_name, b"in", b"one", transactional_id=unique_name)

        assert await _consume(servers, unique_name, 3) == [b"plain", b"in", b"one"]


async def test_refuses_to_create_topics_by_itself(bootstrap_servers: str, unique_name: str) -> None:
    """Asking for a topic that nobody created does not bring it into being."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, request_timeout_ms=500
    )
    await producer.start()
    try:
        with pytest.raises(aiokafka_errors.UnknownTopicOrPartitionError):
            await producer.partitions_for(unique_name)
    finally:
        await producer.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_stops_on_a_signal_with_exit_code_0(number: signal.Signals, tmp_path: Path) -> None:
    """Nothing is left: no Kafka, no temporary data, no second line on standard output."""
    async with _command("--port", "0", env={"TMPDIR": str(tmp_path)}) as process:
        await _ready(process)
        [kafka] = _children(process.pid)
        assert _data_folders(tmp_path)

        process.send_signal(number)
        exit_code, out, _ = await _ended(process)

    assert (exit_code, out) == (0, "")
    assert not _is_running(kafka)
    assert not _data_folders(tmp_path)


async def test_a_signal_during_the_start_stops_it_as_well(tmp_path: Path) -> None:
    """Ctrl-C need not wait for readiness, and leaves nothing behind either."""
    async with _command("--port", "0", env={"TMPDIR": str(tmp_path)}) as process:
        assert process.stderr is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while b"starting Kafka" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGINT)
        exit_code, out, err = await _ended(process)

    assert (exit_code, out) == (0, ""), err
    assert not _data_folders(tmp_path)


async def test_kafka_dies_with_a_command_that_is_killed(tmp_path: Path) -> None:
    """Even kill -9 leaves no Java behind."""
    async with _command("--port", "0", env={"TMPDIR": str(tmp_path)}) as process:
        await _ready(process)
        [kafka] = _children(process.pid)

        process.kill()
        await _gone(kafka)


async def test_says_so_when_kafka_dies_by_itself() -> None:
    """The command ends with exit code 1 and a line, and does not pretend to serve."""
    async with _command("--port", "0") as process:
        await _ready(process)
        [kafka] = _children(process.pid)

        os.kill(kafka, signal.SIGKILL)
        exit_code, _, err = await _ended(process)

    assert exit_code == 1
    assert err.splitlines()[-1] == "error: Kafka ended by itself (killed by SIGKILL)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_data_folder_keeps_records_between_runs(
    number: signal.Signals, tmp_path: Path, unique_name: str
) -> None:
    """After an orderly stop and after kill -9; any name will do for the folder."""
    data_dir = str(tmp_path / "données, of $HOME")
    async with _command("--port", "0", "--data-dir", data_dir) as process:
        servers = await _ready(process)
        await _create_topic(servers, unique_name)
        await _produce(servers, unique_name, b"kept", acks="all")
        process.send_signal(number)
        await _ended(process)

    async with _command("--port", "0", "--data-dir", data_dir) as process:
        assert await _consume(await _ready(process), unique_name, 1) == [b"kept"]


async def test_refuses_a_taken_port() -> None:
    """A stranger on the port is told before Java starts."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        err = await _refusal("--port", str(port))

    assert err.startswith(f"error: port {port} on localhost is taken by another program")


async def test_refuses_a_data_folder_in_use(tmp_path: Path) -> None:
    """The second broker leaves the first one and its files alone."""
    async with EmbeddedBroker(data_dir=tmp_path) as first:
        properties = (tmp_path / "server.properties").read_text()

        err = await _refusal("--port", "0", "--data-dir", str(tmp_path))

        assert f"another broker is using the data folder {tmp_path}" in err
        assert (tmp_path / "server.properties").read_text() == properties
        await _create_topic(first.bootstrap_servers, "still-here")


async def test_refuses_a_file_as_data_folder(tmp_path: Path) -> None:
    """A file in the way is told by name."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")

    assert f"cannot use {in_the_way} as data folder" in await _refusal(
        "--data-dir", str(in_the_way)
    )


async def test_refuses_to_start_without_java(tmp_path: Path) -> None:
    """One line with the remedy, from the program as users run it."""
    err = await _refusal(env={"PATH": str(tmp_path), "JAVA_HOME": ""})

    assert "Kafka needs Java and there is none on PATH; install Java 17 or newer" in err


async def test_refuses_to_start_with_an_old_java(tmp_path: Path) -> None:
    """A Java of yesterday is named with its version."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.22\" 2024-01-16' >&2\n")
    java.chmod(0o755)

    err = await _refusal(env={"PATH": str(tmp_path), "JAVA_HOME": ""})

    assert f"{java} is Java 11 and Kafka needs 17" in err


async def test_asks_for_maven_when_the_jars_are_not_there_yet(tmp_path: Path) -> None:
    """Without Maven and without a cache the line names both ways out."""
    java = shutil.which("java")
    assert java is not None
    (tmp_path / "java").symlink_to(java)

    nowhere = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HEADRACE_KAFKA_LIBS": ""}
    err = await _refusal(env={"PATH": str(tmp_path), **nowhere})

    assert "there is no mvn on PATH; install Maven, or point HEADRACE_KAFKA_LIBS at" in err


@pytest.mark.parametrize(
    ("name", "why"), [(".", "holds no kafka_2.13-*.jar"), ("gone", "is not a folder")]
)
async def test_refuses_a_folder_without_kafka(name: str, why: str, tmp_path: Path) -> None:
    """HEADRACE_KAFKA_LIBS is taken at its word."""
    assert why in await _refusal(env={"HEADRACE_KAFKA_LIBS": str(tmp_path / name)})


async def test_shows_kafkas_own_words_when_it_does_not_start(tmp_path: Path) -> None:
    """A damaged data folder ends in Kafka's error lines, not in a time-out."""
    async with EmbeddedBroker(data_dir=tmp_path):
        pass
    meta = tmp_path / "kafka" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))

    with pytest.raises(KafkaProcessError, match="Kafka did not start") as caught:
        await EmbeddedBroker(data_dir=tmp_path).start()

    assert any("7" in line and "node" in line for line in caught.value.log_tail)


async def test_a_cancelled_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancellation while Kafka starts kills it and removes its data."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    starting = asyncio.Event()

    def hear(line: str) -> None:
        if line.startswith("starting"):
            starting.set()

    before = _children(os.getpid())
    start = asyncio.ensure_future(EmbeddedBroker(on_progress=hear).start())
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await starting.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    assert _children(os.getpid()) == before
    assert not _data_folders(tmp_path)


async def test_kills_a_kafka_that_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is bounded: a frozen Kafka is gone after `stop`, and so is its data."""
    monkeypatch.setattr("headrace.cli.broker.launch._STOP_SECONDS", 0.1)
    broker = EmbeddedBroker()
    await broker.start()
    kafka, data_dir = broker.pid, broker.data_dir
    os.kill(kafka, signal.SIGSTOP)

    await broker.stop()

    assert not _is_running(kafka)
    assert not _data_folders(data_dir.parent, data_dir.name)


async def test_a_cancelled_stop_kills_at_once() -> None:
    """Who has no patience at all leaves nothing running either."""
    broker = EmbeddedBroker()
    await broker.start()
    kafka = broker.pid
    os.kill(kafka, signal.SIGSTOP)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await broker.stop()

    assert not _is_running(kafka)


async def test_the_fast_profile_answers_too() -> None:
    """What benchmarks use: the full compiler and a larger heap."""
    async with EmbeddedBroker(profile="fast") as broker:
        assert "-Xmx1g" in _command_line(broker.pid)
        await _create_topic(broker.bootstrap_servers, "measured")


async def test_starts_again_after_it_was_stopped() -> None:
    """One object has one life at a time, and may have several."""
    broker = EmbeddedBroker()
    await broker.start()
    await broker.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.bootstrap_servers

    async with broker:
        await _create_topic(broker.bootstrap_servers, "again")


async def test_must_be_started_from_the_main_thread() -> None:
    """Kafka would be killed when the other thread ends; better to refuse."""
    with pytest.raises(RuntimeError, match="from the main thread"):
        await asyncio.to_thread(asyncio.run, EmbeddedBroker().start())


async def test_refuses_a_number_that_is_no_port() -> None:
    """The class checks what the command's options check too."""
    with pytest.raises(BrokerError, match="70000 is no port"):
        await EmbeddedBroker(port=70_000).start()
