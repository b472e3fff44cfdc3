"""A started node as a black box: the addresses of its doors, and nothing else of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.e2e.rig import Site

START_SECONDS = 60.0


class Doors(NamedTuple):
    """Where a node listens."""

    grpc_port: int
    http_port: int

    @property
    def grpc(self) -> str:
        """What a gRPC client connects to."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """What an HTTP client puts before its paths."""
        return f"http://127.0.0.1:{self.http_port}"


class _Log:
    """What a node logs; it never blocks on us.

    **Concurrency:** one thread reads, any thread waits.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._is_over = False
        self.reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            with self._changed:
                self._lines.append(line.decode())
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the first event of that name."""
        with self._changed:
            for _ in range(10_000):
                for line in self._lines:
                    if f'"{name}"' in line:
                        found: dict[str, Any] = json.loads(line)
                        return found
                if self._is_over or not self._changed.wait(START_SECONDS):
                    break
        raise AssertionError(f"no {name}; the node said: {''.join(self._lines[-15:])}")


@contextmanager
def running_node(
    site: Site, *, awaits_ready: bool = True, **settings: object
) -> Generator[Doors, None, None]:
    """Run a node as a child process, and yield its addresses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.consumer", *site.arguments(**settings)],
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")},
    )
    log = _Log(process)
    log.reader.start()
    try:
        started = log.event("node.started")
        if awaits_ready:
            log.event("node.ready")
        yield Doors(int(started["grpc_port"]), int(started["http_port"]))
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            log.reader.join(10)
            assert process.stderr
            process.stderr.close()
