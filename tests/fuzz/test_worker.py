"""A real worker under hostile requests: it lives, answers all of them, and grows by none."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest_asyncio

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from tests.fuzz.collected import Request, collected
from tests.fuzz.conftest import EXAMPLES
from tests.integration.consumer.workers.rig import ask, column, outcomes, outputs, proto, publish
from tests.models import model

WARM_UP: Final = 3
ROUNDS: Final = 6
MAX_GROWTH_BYTES: Final = 8 * 2**20
"""Of 3,000 hostile requests; a list that kept their decoded tensors would have far more."""
DOCUMENTED: Final = {
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
    Code.UNIMPLEMENTED,
    Code.INTERNAL,
}


@pytest_asyncio.fixture
async def servable(tmp_path: Path) -> AsyncGenerator[WorkerServable]:
    """A model to predict, classify and regress with, in a worker of its own."""
    options = WorkerOptions(load_timeout_seconds=60.0)
    async with Zygotes() as zygotes:
        cache = ArtifactCache(tmp_path / "cache", max_bytes=2**30)
        async with WorkerLoader(cache, zygotes, options) as loader:
            planned = publish(model("half_plus_two_zoo"), tmp_path / "store")
            loaded = await loader.load(planned, Batching(), yields_cpu=False)
            yield loaded
            await loaded.unload()


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, shared pages by their share."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def fed(servable: WorkerServable, requests: list[Request]) -> None:
    """Have all requests answered, those of an encoding in a frame, each with a code we know."""
    deadline = time.monotonic() + 60
    for encoding in sorted({encoding for encoding, _ in requests}):
        payloads = [payload for each, payload in requests if each is encoding]
        answers = await servable.infer(Calls(encoding, payloads, [deadline] * len(payloads)))
        assert {answer.code for answer in outcomes(answers)} <= DOCUMENTED
    [good] = await ask(servable, [proto(column(2.0))])
    assert outputs(good)["y"].tolist() == [[3.0]]


async def test_no_request_ends_a_worker_or_stays_in_it(servable: WorkerServable) -> None:
    """The process stays the same and as large, whatever it is asked."""
    requests = collected(EXAMPLES)
    pids = servable.pids
    for _ in range(WARM_UP):
        await fed(servable, requests)
    before = pss_bytes(pids[0])
    for _ in range(ROUNDS):
        await fed(servable, requests)
    assert servable.pids == pids
    assert pss_bytes(pids[0]) - before <= MAX_GROWTH_BYTES
