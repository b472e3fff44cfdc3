"""A started node as a black box: the addresses of its doors, and nothing else of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.e2e.rig import Site

TIMEOUT_SECONDS = 60.0


class Log:
    """What a node logs; the node never waits for who reads it.

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

    def event(self, name: str, **keys: object) -> dict[str, Any]:
        """Wait for the first event with that name and these keys, also one that is past."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with self._changed:
            while True:
                for line in self._lines:
                    found: dict[str, Any] = json.loads(line) if f'"{name}"' in line else {}
                    if found and keys.items() <= found.items():
                        return found
                left = deadline - time.monotonic()
                if self._is_over or left < 0:
                    said = "".join(self._lines[-15:])
                    raise AssertionError(f"no {name} {keys}; the node said: {said}")
                self._changed.wait(left)


class Doors(NamedTuple):
    """Where a node listens, and what it logs."""

    grpc_port: int
    http_port: int
    log: Log

    @property
    def grpc(self) -> str:
        """What a gRPC client connects to."""
        return f"127.0.0.1:{self.grpc_port}"


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
    log = Log(process)
    log.reader.start()
    try:
        started = log.event("node.started")
        if awaits_ready:
            log.event("node.ready")
        yield Doors(int(started["grpc_port"]), int(started["http_port"]), log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            log.reader.join(10)
            assert process.stderr
            process.stderr.close()
