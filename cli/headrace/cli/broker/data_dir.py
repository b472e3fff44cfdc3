"""The folder in which one broker lives: Kafka's storage, its configuration, its logs, a lock."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.cli.broker import config
from headrace.cli.broker.errors import DataDirError
from headrace.cli.broker.security import BrokerSecurity

_LOCK = "broker.lock"
_CONSOLE_LOG = "console.log"
_RELEASE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 12
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class DataDir:
    """A folder opened for one broker.

    **Concurrency:** one owner at a time, also between processes, once `lock` returned. The lock
    belongs to the open file `lock_fd`: inherited by Kafka, it holds until that process is gone.
    """

    path: Path
    lock_fd: int
    is_temporary: bool

    @classmethod
    def open(cls, path: Path | None) -> Self:
        """Create `path`, or a temporary folder when it is None.

        Raises:
            DataDirError: it cannot be created or written.
        """
        try:
            folder = path.absolute() if path else Path(tempfile.mkdtemp(prefix="headrace-broker-"))
            (folder / config.LOGS_FOLDER).mkdir(parents=True, exist_ok=True)
            lock_fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataDirError(
                f"cannot use {path or tempfile.gettempdir()} as data folder: {error.strerror}; "
                f"choose a folder that can be created and written"
            ) from error
        return cls(folder, lock_fd, is_temporary=path is None)

    async def lock(self) -> None:
        """Lock the folder; a broker that is just dying gets a moment to let go.

        Raises:
            DataDirError: another broker keeps it locked.
        """
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                # The kernel tells nobody when a lock that was only tried is free again.
                while not self._try_lock():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise DataDirError(
                f"another broker is using the data folder {self.path}; "
                f"stop that broker or choose another --data-dir"
            ) from None

    def close(self) -> None:
        """Let go of the folder, and remove it when it is temporary."""
        os.close(self.lock_fd)
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def kafka_log(self) -> Path:
        """The log that Kafka writes, kept over runs and bounded."""
        return self.path / config.LOGS_FOLDER / config.KAFKA_LOG

    @property
    def console_log(self) -> Path:
        """What the last process wrote to its console: errors, and the JVM's own complaints."""
        return self.path / config.LOGS_FOLDER / _CONSOLE_LOG

    @property
    def cluster_id(self) -> str | None:
        """The id that formatting gave to the storage, or None when it is not formatted.

        Kafka's format tool writes this file last, so that half a format counts as none.
        """
        try:
            text = (self.path / config.STORAGE_FOLDER / "meta.properties").read_text("utf-8")
        except FileNotFoundError:
            return None
        properties = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return properties.get("cluster.id")

    def write_config(self, ports: config.Ports, security: BrokerSecurity | None) -> None:
        """Write the files that Kafka reads at its start."""
        properties = self.path / config.SERVER_PROPERTIES
        if security:
            # It holds the passwords of the users.
            properties.touch()
            properties.chmod(0o600)
        properties.write_text(config.server_properties(ports, security), "utf-8")
        (self.path / config.LOG4J_PROPERTIES).write_text(config.LOG4J_TEXT, "utf-8")

    def log_tail(self) -> list[str]:
        """The last lines of the console; of Kafka's log when the console has none."""
        return _tail(self.console_log) or _tail(self.kafka_log)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line.strip()][-_TAIL_LINES:]
