"""One stage that the single faults share: each leaves it as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from tests.chaos.checker import check
from tests.chaos.stage import DEFAULT_DELIVERY, Stage, open_stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage, None]:
    """Two nodes and a broker that may be killed; at the end everything is judged once more.

    The second time also finds what a fault did to the requests of the tests before it.
    """
    opened: asyncio.Future[Stage] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        folder = tmp_path_factory.mktemp("chaos")
        async with open_stage(folder, nodes=2, delivery=DEFAULT_DELIVERY) as stage:
            opened.set_result(stage)
            await over.wait()
            for member in stage.fleet.steady():
                await stage.fleet.leave(member.name)
            verdict = check(await stage.gather())
            assert not verdict.violations(DEFAULT_DELIVERY), verdict.words(DEFAULT_DELIVERY)
            assert not stage.fleet.failures

    # A task of its own: what is entered here must be left in the same task, and a fixture's two
    # halves run in two.
    holding = asyncio.create_task(hold())
    either: list[asyncio.Future[Any]] = [holding, opened]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        await holding
    yield opened.result()
    over.set()
    await holding
