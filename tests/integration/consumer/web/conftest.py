"""Real models in real workers behind an HTTP door, once for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
import pytest
import pytest_asyncio

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from tests.integration.consumer.web.rig import Rig, client_of, ready_rig
from tests.integration.consumer.workers.rig import publish
from tests.models import model

SERVED: Final = {
    "half_plus_two": ("half_plus_two", 3),
    "half_plus_two_tf1": ("half_plus_two_tf1", 1),
    "a/b:c": ("half_plus_two", 1),
    "sum_and_product": ("sum_and_product", 1),
    "upper": ("upper", 1),
    "next_int64": ("next_int64", 1),
    "total": ("total", 1),
    "picky": ("picky", 1),
    "sleepy": ("sleepy", 1),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    """The parts behind the door of a node that serves `SERVED`, with a label on the first."""
    cache = ArtifactCache(tmp_path_factory.mktemp("cache"), max_bytes=2**30)
    store = tmp_path_factory.mktemp("store")
    async with AsyncExitStack() as opened:
        zygotes = await opened.enter_async_context(Zygotes())
        options = WorkerOptions(load_timeout_seconds=60.0)
        loader = await opened.enter_async_context(WorkerLoader(cache, zygotes, options))
        rig = ready_rig()
        for name, (source, version) in SERVED.items():
            planned = publish(model(source), store, name, version=version)
            servable = await loader.load(planned, Batching(), yields_cpu=False)
            opened.push_async_callback(servable.unload)
            rig.add(planned, servable)
        routes = rig.serving_map.model("half_plus_two")
        routes.labels, routes.bound = {"stable": 3}, {"stable": 3}
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(real_rig: Rig) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of that node."""
    async with real_rig.open() as door, client_of(door) as client:
        yield client
