"""Calls that nobody waits for never reach the model, wherever they are: it tells what it has run.

The first call is held inside the model by a gate, so that the test knows where the others are.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from tests.integration.consumer.workers.rig import Outcome, ask, avro, join, publish
from tests.models import model

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Gate:
    """A version of the gated model, each call a run of its own, and what it has run."""

    def __init__(self, folder: Path, servable: WorkerServable) -> None:
        self._folder = folder
        self.servable = servable
        (folder / "open").touch()

    def call(self, name: str, *, gate: str = "open", seconds: float = 60.0) -> Calls:
        """Return a call that leaves its name behind when it is run."""
        texts = {"path": str(self._folder / name), "gate": str(self._folder / gate)}
        inputs = {alias: np.array([text.encode()], object) for alias, text in texts.items()}
        return avro(inputs, seconds=seconds)

    async def asked(self, *calls: Calls) -> asyncio.Task[list[Outcome]]:
        """Ask, and return as soon as the calls are queued or sent."""
        task = asyncio.create_task(ask(self.servable, calls))
        for _ in range(3):  # `ask` has a task of its own for each encoding.
            await asyncio.sleep(0)
        return task

    def open(self, gate: str) -> None:
        """Let the calls in that wait at a gate."""
        (self._folder / gate).touch()

    def forget(self) -> None:
        """Forget what was run."""
        for name in self.ran:
            for path in self._folder.glob(f"{name}*"):
                path.unlink()

    @property
    def ran(self) -> set[str]:
        """The names of what was run, or is."""
        written = {path.name for path in self._folder.iterdir()}
        return {name.removesuffix(".begun") for name in written if not name.startswith("open")}

    async def has_begun(self, name: str) -> None:
        """Return when a call is in the model."""
        while name not in self.ran:
            await asyncio.sleep(0.01)


@pytest.fixture(params=[1, 2], ids=["queued", "sent ahead"])
def frames_in_flight(request: pytest.FixtureRequest) -> int:
    """Whether the calls behind the first wait in the queue, or in a second frame."""
    assert isinstance(request.param, int)
    return request.param


@pytest_asyncio.fixture(loop_scope="module")
async def gate(
    zygotes: Zygotes, store: Path, tmp_path: Path, frames_in_flight: int
) -> AsyncGenerator[Gate]:
    """A gate with one worker."""
    options = WorkerOptions(max_frame_calls=2, max_frames_in_flight=frames_in_flight)
    cache = ArtifactCache(tmp_path / "cache", 2**30)
    (tmp_path / "ran").mkdir()
    async with asyncio.timeout(60), WorkerLoader(cache, zygotes, options) as loader:
        planned = publish(model("gated"), store)
        servable = await loader.load(planned, Batching(max_rows=1), yields_cpu=False)
        yield Gate(tmp_path / "ran", servable)
        await servable.unload()


async def test_a_cancelled_call_is_never_run(gate: Gate) -> None:
    """Behind a busy worker, in the queue or in the frame that the worker has next."""
    first = await gate.asked(gate.call("first", gate="open-later"))
    await gate.has_begun("first")
    given_up = await gate.asked(gate.call("given up"))
    kept = await gate.asked(gate.call("kept"))
    given_up.cancel()
    await asyncio.wait([given_up])
    gate.open("open-later")
    for [answer] in await asyncio.gather(first, kept):
        assert answer.code is Code.OK
    assert gate.ran == {"first", "kept"}


async def test_an_expired_call_is_never_run(gate: Gate) -> None:
    """It is answered when its time is over, and the worker leaves it out."""
    first = await gate.asked(gate.call("first", gate="open-later"))
    await gate.has_begun("first")
    [late] = await (await gate.asked(gate.call("late", seconds=0.1)))
    assert late.code is Code.DEADLINE_EXCEEDED
    gate.open("open-later")
    [answer] = await first
    assert answer.code is Code.OK
    [answer] = await ask(gate.servable, [gate.call("last")])
    assert answer.code is Code.OK
    assert gate.ran == {"first", "last"}


async def test_cancelled_calls_of_a_frame_in_work_are_not_run(gate: Gate) -> None:
    """Of several calls that go together, those that have not begun are left out."""
    together = join([gate.call("begun", gate="open-later"), gate.call("not begun")])
    asked = asyncio.create_task(gate.servable.infer(together))
    await gate.has_begun("begun")
    kept = await gate.asked(gate.call("kept"))
    asked.cancel()
    await asyncio.wait([asked])
    gate.open("open-later")
    [answer] = await kept
    assert answer.code is Code.OK
    assert gate.ran == {"begun", "kept"}


async def test_a_cancelled_suspect_is_not_run_by_the_next_worker(gate: Gate) -> None:
    """What a worker died over is not tried again when nobody waits for it."""
    given_up = await gate.asked(gate.call("given up", gate="open-later"))
    await gate.has_begun("given up")
    others = [await gate.asked(gate.call(name)) for name in ("also given up", "kept")]
    os.kill(gate.servable.pids[0], signal.SIGKILL)
    gate.forget()
    for each in (given_up, others[0]):
        each.cancel()
        await asyncio.wait([each])
    [answer] = await others[1]
    assert answer.code is Code.OK
    assert gate.ran == {"kept"}
