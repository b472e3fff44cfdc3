"""Changes that clients ask for, through a real Kafka, with loads that the test commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.consumer.control.log import ControlLog
from headrace.consumer.control.repository import ClosedRepository, LogRepository
from headrace.consumer.core.errors import (
    ChangeNotWritten,
    DeadlineExceeded,
    ModelControlOff,
    ModelRejected,
    ModelsUnavailable,
    ServableNotFound,
)
from headrace.consumer.core.harness import LifeOptions
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.manager import Manager
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import Plan, fold
from headrace.consumer.core.repository import Listed, ModelWish
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.core.slots import LoadSlots
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.filesystems import url_to_fs
from headrace.publisher.history import read_control
from headrace.publisher.models import ModelPublisher
from headrace.schemas.records import (
    ModelVersion,
    PolicyKind,
    Route,
    ServableState,
    Validation,
    VersionPolicy,
)
from headrace.schemas.topics import Topics
from tests.fakes.loading import ScriptedLoader
from tests.fakes.saved_models import write_saved_model

S = ServableState
ALL = VersionPolicy(kind=PolicyKind.ALL)


@dataclass
class Stage:
    """A node's engine that follows the log, and what changes the log."""

    repository: LogRepository
    publisher: ModelPublisher
    manager: Manager
    loader: ScriptedLoader
    map: ServingMap
    monitor: Monitor

    def listed(self) -> list[tuple[str, int, S | None, str]]:
        """Return the index as plain tuples."""
        return list(self.repository.index())


async def follow(connection: KafkaConnection, topics: Topics, manager: Manager) -> None:
    """Let the manager follow the control log, as a node does."""
    plan = Plan()
    async with aclosing(ControlLog(connection, topics.control).batches()) as batches:
        async for batch in batches:
            plan = fold(plan, batch.events)
            if batch.is_caught_up:
                manager.apply(plan)


@asynccontextmanager
async def staged(
    connection: KafkaConnection, topics: Topics, folder: Path, timeout_seconds: float = 60
) -> AsyncGenerator[Stage, None]:
    """Open the engine and let it follow."""
    loader, serving_map, monitor = ScriptedLoader(), ServingMap(), Monitor()
    publisher = ModelPublisher(connection, topics=topics, store=str(folder / "store"))
    options = LifeOptions(load_attempts=1, drain_seconds=30)
    async with (
        Manager(loader, serving_map, monitor, LoadSlots(4), options) as manager,
        asyncio.TaskGroup() as tasks,
    ):
        following = tasks.create_task(follow(connection, topics, manager))
        repository = LogRepository(publisher, manager, monitor, timeout_seconds=timeout_seconds)
        yield Stage(repository, publisher, manager, loader, serving_map, monitor)
        following.cancel()


@pytest.fixture
async def stage(
    connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> AsyncGenerator[Stage, None]:
    """An engine that follows a log of its own."""
    async with staged(connection, topics, tmp_path) as stage:
        yield stage


def wish(folder: Path, *versions: int, **fields: object) -> ModelWish:
    """Write version folders and return the wish for them."""
    for number in versions:
        write_saved_model(folder / str(number), content=str(number))
    return ModelWish(name="m", base_path=str(folder), **fields)  # type: ignore[arg-type]


async def test_model_is_unloaded_and_brought_back(stage: Stage, tmp_path: Path) -> None:
    """Unloading retires all versions, waits for the loans, and loading brings the highest back."""
    await stage.repository.reload([wish(tmp_path / "m", 1, 2, policy=ALL)])
    with stage.map.acquire(Route("m", 1)):
        unloading = asyncio.create_task(stage.repository.unload("m"))
        async with asyncio.timeout(30):
            await stage.loader.servables[ServableId("m", 2)].unloaded.wait()
        assert not unloading.done()
    await unloading
    assert stage.listed() == [("m", 1, S.END, "retired"), ("m", 2, S.END, "retired")]
    end = stage.manager.plan.offset
    await stage.repository.unload("m")
    assert stage.manager.plan.offset == end
    await stage.repository.load("m")
    assert stage.listed() == [("m", 1, S.END, "retired"), ("m", 2, S.AVAILABLE, "")]
    assert stage.manager.plan.offset == end + 1
    await stage.repository.load("m")
    assert stage.manager.plan.offset == end + 1


async def test_load_tries_again_what_failed(stage: Stage, tmp_path: Path) -> None:
    """A fresh event for the same bytes; a reload that says nothing new tries nothing."""
    stage.loader.failures[ServableId("m", 2)] = [ModelRejected("no"), ModelRejected("still no")]
    wished = wish(tmp_path / "m", 1, 2)
    why = r"1 model\(s\) did not become available: m \(version 2: "
    with pytest.raises(ModelsUnavailable, match=rf"{why}no\)"):
        await stage.repository.reload([wished])
    end = stage.manager.plan.offset
    with pytest.raises(ModelsUnavailable, match=rf"{why}no\)"):
        await stage.repository.reload([wished])
    assert stage.manager.plan.offset == end
    with pytest.raises(ModelsUnavailable, match=rf"{why}still no\)"):
        await stage.repository.load("m")
    await stage.repository.load("m")
    assert stage.listed() == [("m", 2, S.AVAILABLE, "")]


async def test_model_that_the_log_does_not_know_is_not_found(stage: Stage) -> None:
    """Neither loading nor unloading invents one."""
    with pytest.raises(ServableNotFound, match="knows no version of model 'none'"):
        await stage.repository.load("none")
    with pytest.raises(ServableNotFound, match="knows no version of model 'none'"):
        await stage.repository.unload("none")
    assert stage.listed() == []


async def test_versions_in_a_store_are_fetched(stage: Stage, tmp_path: Path) -> None:
    """Base paths may be URIs of stores; what was fetched is cleaned away."""
    files, _ = url_to_fs("memory://")
    for path in write_saved_model(tmp_path / "model").rglob("*"):
        if path.is_file():
            target = f"/{tmp_path.name}/m/00012/{path.relative_to(tmp_path / 'model')}"
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            with files.open(target, "wb") as writer:
                writer.write(path.read_bytes())
    base = f"memory://{tmp_path.name}/m"
    await stage.repository.reload([ModelWish(name="m", base_path=base)])
    assert stage.listed() == [("m", 12, S.AVAILABLE, "")]


async def test_load_that_takes_too_long_is_told(
    connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """The answer names the state; the events stay, and the load goes on."""
    async with staged(connection, topics, tmp_path, timeout_seconds=5) as stage:
        stage.loader.instant = False
        with pytest.raises(ModelsUnavailable, match=r"m \(version 1: loading\)"):
            await stage.repository.reload([wish(tmp_path / "m", 1)])
        stage.loader.finish("m", 1)
        await stage.manager.wait_settled()
        assert stage.listed() == [("m", 1, S.AVAILABLE, "")]


async def test_changes_wait_for_the_log_and_not_for_ever(
    connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """A node that has not read the log would retire and publish at random."""
    publisher = ModelPublisher(connection, topics=topics)
    async with Manager(
        ScriptedLoader(), ServingMap(), Monitor(), LoadSlots(1), LifeOptions()
    ) as manager:
        repository = LogRepository(publisher, manager, Monitor(), timeout_seconds=0.05)
        with pytest.raises(DeadlineExceeded, match=r"not in force here within 0\.05 s"):
            await repository.reload([wish(tmp_path / "m", 1)])


async def test_caller_that_leaves_lets_the_next_one_in(stage: Stage, tmp_path: Path) -> None:
    """A cancelled wait keeps no lock; a slow load keeps no other change waiting."""
    stage.loader.instant = False
    slow = asyncio.create_task(stage.repository.reload([wish(tmp_path / "m", 1)]))
    async with asyncio.timeout(30):
        await stage.loader.begun.get()
        await stage.repository.unload("m")
    slow.cancel()
    await asyncio.wait({slow})
    assert stage.listed() == [("m", 1, S.END, "retired")]


async def test_broker_that_is_away_is_a_refusal(
    connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """Nothing was written, and the caller may try again."""
    async with staged(connection, topics, tmp_path) as stage:
        nobody = KafkaConnection("localhost:1", connect_timeout_seconds=0.2)
        publisher = ModelPublisher(nobody, topics=topics, store=str(tmp_path / "store"))
        repository = LogRepository(publisher, stage.manager, stage.monitor)
        with pytest.raises(ChangeNotWritten, match="cannot reach Kafka") as caught:
            await repository.reload([wish(tmp_path / "m", 1)])
        assert caught.value.retriable


async def test_closed_repository_only_tells(stage: Stage, tmp_path: Path) -> None:
    """Asking is free; every order is refused."""
    await stage.repository.reload([wish(tmp_path / "m", 3)])
    closed = ClosedRepository(stage.manager, stage.monitor)
    assert closed.index() == [Listed("m", 3, S.AVAILABLE, "")]
    for order in (closed.reload([]), closed.load("m"), closed.unload("m")):
        with pytest.raises(ModelControlOff, match="--no-model-control"):
            await order
    assert closed.index() == [Listed("m", 3, S.AVAILABLE, "")]


async def test_clients_may_ask_for_a_version_that_callers_cannot_call(
    stage: Stage, connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """Their interface cannot ask back; the event says what came of the comparison."""
    await stage.repository.reload([wish(tmp_path / "a", 1)])
    write_saved_model(tmp_path / "b" / "2", signatures=("other",))
    await stage.repository.reload([wish(tmp_path / "b")])
    records = [entry.record for entry in await read_control(connection, topics)]
    (found,) = [each for each in records if isinstance(each, ModelVersion) and each.version == 2]
    assert found.validation == Validation(examples=0, compared_with=1, is_compatible=False)
