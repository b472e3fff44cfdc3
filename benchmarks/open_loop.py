"""A client with a fixed rate, whatever the server does: a late answer delays no later request.

Latency counts from the moment at which a request was due, so that a server that stalls is charged
for every request that it kept waiting.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

Ask = Callable[[], Awaitable[int]]
"""Asks once and returns the version that answered; raises `Refused`."""


class Refused(Exception):
    """A request was not answered well; the message is the status."""


async def run(ask: Ask, rate: float, output: Path) -> None:
    """Ask until standard input ends, then write what became of each request.

    Says `{}` on standard output once a first request has been answered. The file holds a list of
    `[due, latency_ms, version, error]`.

    Units: `rate` in requests per second; `due` in epoch seconds.
    """
    samples: list[tuple[float, float, int, str]] = []
    await ask()
    print(json.dumps({}), flush=True)
    async with asyncio.TaskGroup() as tasks:
        over = stdin_ended()
        first_due, count = time.time(), 0
        while not over.is_set():
            due = first_due + count / rate
            try:
                async with asyncio.timeout(max(0.0, due - time.time())):
                    await over.wait()
            except TimeoutError:
                tasks.create_task(_sample(ask, due, samples))
            count += 1
    await asyncio.to_thread(output.write_text, json.dumps(samples), "ascii")


def stdin_ended() -> asyncio.Event:
    """Return an event that is set when standard input ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        loop.remove_reader(sys.stdin)
        ended.set()

    loop.add_reader(sys.stdin, end)
    return ended


async def _sample(ask: Ask, due: float, samples: list[tuple[float, float, int, str]]) -> None:
    version, error = 0, ""
    try:
        version = await ask()
    except Refused as refused:
        error = str(refused)
    samples.append((round(due, 4), round((time.time() - due) * 1000, 2), version, error))
