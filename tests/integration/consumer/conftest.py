"""A loader on a real zygote, one for the tests of a module: its import takes seconds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from tests.integration.consumer.workers.rig import publish
from tests.models import model

Load = Callable[..., Awaitable[WorkerServable]]

OPTIONS = WorkerOptions(load_timeout_seconds=60.0, max_deaths=3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zygotes() -> AsyncGenerator[Zygotes]:
    """The zygotes of a node."""
    async with Zygotes() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loader(
    zygotes: Zygotes, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[WorkerLoader]:
    """A loader with a cache of its own."""
    cache = ArtifactCache(tmp_path_factory.mktemp("cache"), max_bytes=2**30)
    async with WorkerLoader(cache, zygotes, OPTIONS) as opened:
        yield opened


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of published artefacts."""
    return tmp_path_factory.mktemp("store")


@pytest_asyncio.fixture(loop_scope="module")
async def load(loader: WorkerLoader, store: Path) -> AsyncGenerator[Load]:
    """A function that loads a test model by name; what it loaded is unloaded after the test."""
    async with AsyncExitStack() as stack:

        async def loaded(
            name: str,
            batching: Batching | None = None,
            *,
            yields_cpu: bool = False,
            replicas: int = 1,
        ) -> WorkerServable:
            planned = publish(model(name), store)
            servable = await loader.load(
                planned, batching or Batching(), yields_cpu=yields_cpu, replicas=replicas
            )
            stack.push_async_callback(servable.unload)
            return servable

        yield loaded
