"""Workers that die, hang or cannot load: who is told, and what still works."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    LoadCrashed,
    LoadTimedOut,
    ModelRejected,
    QueueFull,
)
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from tests.integration.consumer.workers.conftest import Load
from tests.integration.consumer.workers.rig import (
    ask,
    avro,
    column,
    floats,
    join,
    outcomes,
    outputs,
    publish,
)
from tests.models import BRITTLE_VALUE, model

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_killed_worker_is_replaced_and_nobody_notices(load: Load) -> None:
    """Under load, a worker killed by the system is replaced, and every call is answered."""
    servable = await load("half_plus_two")
    killed = servable.pid
    has_begun = asyncio.Event()

    async def compute(first: int) -> None:
        for n in range(first, first + 60):
            [answer] = await ask(servable, [avro(column(n))])
            assert outputs(answer)["y"] == [[n * 0.5 + 2]]
            has_begun.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for caller in range(20):
            tasks.create_task(compute(1000 * caller))
        await has_begun.wait()
        os.kill(killed, signal.SIGKILL)
    assert servable.pid != killed


async def test_a_call_that_kills_the_worker_takes_no_neighbour_along(load: Load) -> None:
    """The culprit is answered after its second worker died; all others are answered well."""
    servable = await load("brittle")
    values = [1.0, 2.0, BRITTLE_VALUE, 3.0, 4.0]
    answers = list(await ask(servable, [avro(floats(v)) for v in values]))
    culprit = answers.pop(2)
    assert culprit.code is Code.UNAVAILABLE
    assert "worker died: killed by SIGABRT" in culprit.message
    assert [outputs(answer)["y"].tolist() for answer in answers] == [[1], [2], [3], [4]]
    [answer] = await ask(servable, [avro(floats(5.0))])
    assert answer.code is Code.OK


async def test_requests_that_kill_do_not_end_a_version_that_answers_others(load: Load) -> None:
    """Many dead workers within a minute are the fault of the requests, and the version goes on."""
    servable = await load("brittle")
    async with asyncio.timeout(60):
        for _ in range(4):
            good, bad = await ask(servable, [avro(floats(v)) for v in (1.0, BRITTLE_VALUE)])
            assert (good.code, bad.code) == (Code.OK, Code.UNAVAILABLE)
        assert [a.code for a in await ask(servable, [avro(floats(2.0))])] == [Code.OK]


async def test_a_version_that_dies_of_every_request_ends(load: Load) -> None:
    """After three deaths over everything it was asked nothing is replaced: all are told why."""
    servable = await load("brittle")
    async with asyncio.timeout(60):
        for _ in range(3):
            [answer] = await ask(servable, [avro(floats(BRITTLE_VALUE))])
            assert answer.code is Code.UNAVAILABLE
        reason = await servable.wait_broken()
    assert isinstance(reason, LoadCrashed)
    assert "died 3 times within 60 s, last: killed by SIGABRT" in str(reason)
    [answer] = await ask(servable, [avro(floats(1.0))])
    assert answer.code is Code.UNAVAILABLE
    assert answer.message == str(reason)


async def test_waiting_for_the_end_can_be_cancelled(load: Load) -> None:
    """`wait_broken` may be given up and asked again."""
    servable = await load("half_plus_two")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await servable.wait_broken()
    [answer] = await ask(servable, [avro(column(1))])
    assert answer.code is Code.OK


async def test_a_crash_while_loading_is_told_in_words(load: Load) -> None:
    """A model that aborts its process while it loads fails that load only."""
    with pytest.raises(LoadCrashed, match="ended while it loaded: killed by SIGABRT"):
        await load("hostile")
    servable = await load("half_plus_two")
    [answer] = await ask(servable, [avro(column(1))])
    assert answer.code is Code.OK


async def test_calls_after_unloading_are_unavailable(load: Load) -> None:
    """Calls inside at the unloading and calls after it are answered UNAVAILABLE."""
    servable = await load("sleepy")
    seconds = {"seconds": np.full(1, 30.0, np.float32)}
    inside = asyncio.create_task(ask(servable, [avro(seconds)]))
    await asyncio.sleep(0)  # The task has run up to its wait.
    pid = servable.pid
    await servable.unload()
    [answer] = await inside
    assert (answer.code, answer.message) == (Code.UNAVAILABLE, "sleepy/1 was unloaded")
    [answer] = await ask(servable, [avro(seconds)])
    assert answer.code is Code.UNAVAILABLE
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_stopped_worker_is_replaced_after_the_deadline(
    loader: WorkerLoader, zygotes: Zygotes, store: Path, tmp_path: Path
) -> None:
    """A worker that answers nothing, whatever holds it, is killed when its calls are overdue."""
    options = WorkerOptions(hang_grace_seconds=0.2, answer_grace_seconds=0.1)
    cache = ArtifactCache(tmp_path, 2**30)
    async with asyncio.timeout(60), WorkerLoader(cache, zygotes, options) as quick:
        planned = publish(model("half_plus_two"), store)
        servable = await quick.load(planned, Batching(), yields_cpu=False)
        stuck = servable.pid
        os.kill(stuck, signal.SIGSTOP)
        [answer] = await ask(servable, [avro(column(1), seconds=0.2)])
        assert answer.code is Code.DEADLINE_EXCEEDED
        [answer] = await ask(servable, [avro(column(1))])
        assert answer.code is Code.OK
        assert servable.pid != stuck


async def test_a_full_queue_refuses_or_waits(zygotes: Zygotes, store: Path, tmp_path: Path) -> None:
    """Past its bound the queue refuses at once, or waits when the caller may."""
    options = WorkerOptions(max_queue_calls=2, max_frame_calls=1, max_frames_in_flight=1)
    cache = ArtifactCache(tmp_path, 2**30)
    async with asyncio.timeout(60), WorkerLoader(cache, zygotes, options) as small:
        planned = publish(model("half_plus_two"), store)
        servable = await small.load(planned, Batching(), yields_cpu=False)
        pairs = [join([avro(column(n)), avro(column(n + 1))]) for n in range(20)]
        waiting = [asyncio.create_task(servable.infer(pair, may_wait=True)) for pair in pairs]
        await asyncio.sleep(0)  # The tasks have run up to their wait.
        with pytest.raises(QueueFull, match="the queue of this version is full: 2 calls"):
            await servable.infer(pairs[0])
        for n, answers in enumerate(await asyncio.gather(*waiting)):
            found = [float(outputs(each)["y"][0, 0]) for each in outcomes(answers)]
            assert found == [n / 2 + 2, (n + 1) / 2 + 2]


async def test_waiting_for_room_ends_with_the_version(
    zygotes: Zygotes, store: Path, tmp_path: Path
) -> None:
    """A caller that waits before a full queue is answered when the version goes, or time is up."""
    options = WorkerOptions(max_queue_calls=1, max_frames_in_flight=1)
    cache = ArtifactCache(tmp_path, 2**30)
    async with asyncio.timeout(60), WorkerLoader(cache, zygotes, options) as small:
        servable = await small.load(publish(model("sleepy"), store), Batching(), yields_cpu=False)
        slow = avro({"seconds": np.full(1, 30.0, np.float32)})
        inside = [asyncio.create_task(ask(servable, [slow])) for _ in range(2)]
        await asyncio.sleep(0)  # One is with the worker and one queued.
        hasty = avro({"seconds": np.zeros(1, np.float32)}, seconds=0.1)
        [late] = await ask(servable, [hasty], may_wait=True)
        assert late.code is Code.DEADLINE_EXCEEDED
        waiting = asyncio.create_task(ask(servable, [slow], may_wait=True))
        await asyncio.sleep(0)  # The task has run up to its wait.
        await servable.unload()
        for [answer] in await asyncio.gather(*inside, waiting):
            assert answer.message == "sleepy/1 was unloaded"


async def test_unknown_platform_is_refused(loader: WorkerLoader, store: Path) -> None:
    """A platform that nobody knows is named, with those that are known."""
    planned = publish(model("half_plus_two"), store)
    odd = PlannedVersion(replace(planned.record, platform="sklearn"), 0)
    with pytest.raises(ModelRejected, match=r"'sklearn' is not known here; .* tensorflow"):
        await loader.load(odd, Batching(), yields_cpu=False)


async def test_a_model_that_the_platform_refuses(load: Load) -> None:
    """The platform's words reach the one who reads the status."""
    with pytest.raises(ModelRejected, match="has no signature to serve"):
        await load("no_signature")


async def test_files_that_are_no_model(loader: WorkerLoader, tmp_path: Path) -> None:
    """A folder of anything else is refused in words."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "saved_model.pb").write_bytes(b"\xff\xff not a model")
    planned = publish(tmp_path / "odd", tmp_path / "store")
    with pytest.raises(ModelRejected, match="tensorflow refused the model: "):
        await loader.load(planned, Batching(), yields_cpu=False)


async def test_missing_and_corrupt_artefacts(loader: WorkerLoader, tmp_path: Path) -> None:
    """An artefact that is not there may come; one with other bytes is refused for good."""
    planned = publish(model("upper"), tmp_path / "store")
    gone = replace(planned.record, uri=(tmp_path / "nowhere").as_uri())
    with pytest.raises(ArtifactMissing, match=r"there is no manifest\.json at file:") as missing:
        await loader.load(PlannedVersion(gone, 0), Batching(), yields_cpu=False)
    assert missing.value.retriable
    [folder] = (tmp_path / "store").iterdir()
    (folder / "files" / "saved_model.pb").write_bytes(b"others")
    with pytest.raises(ArtifactCorrupt, match="is not the file that was published") as corrupt:
        await loader.load(planned, Batching(), yields_cpu=False)
    assert not corrupt.value.retriable


async def test_a_load_that_takes_too_long(zygotes: Zygotes, store: Path, tmp_path: Path) -> None:
    """The load's time limit ends it, and the half-loaded worker with it."""
    cache = ArtifactCache(tmp_path, 2**30)
    options = WorkerOptions(load_timeout_seconds=0.001)
    async with WorkerLoader(cache, zygotes, options) as hasty:
        planned = publish(model("half_plus_two"), store)
        with pytest.raises(LoadTimedOut, match="half_plus_two version 1 was still"):
            await hasty.load(planned, Batching(), yields_cpu=False)


@pytest.mark.parametrize("turns", [0, 1, 50])
async def test_a_cancelled_load_leaves_no_worker(
    loader: WorkerLoader, zygotes: Zygotes, store: Path, turns: int
) -> None:
    """When a cancelled load returns, no process of it is left, however far it had come."""
    zygote = _zygote_pid(zygotes)
    before = _children(zygote)
    planned = publish(model("vocabulary"), store)
    loading = asyncio.create_task(loader.load(planned, Batching(), yields_cpu=False))
    async with asyncio.timeout(10):
        # The fork is the zygote's doing: no event of this loop tells of it.
        while _children(zygote) == before:
            await asyncio.sleep(0)
    [worker] = _children(zygote) - before
    os.kill(int(worker), signal.SIGSTOP)
    for _ in range(turns):
        await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert _children(zygote) == before


async def test_versions_of_a_dead_zygote_come_back(load: Load, zygotes: Zygotes) -> None:
    """When the zygote dies its workers do; both are replaced, and the calls are answered."""
    first, second = await load("half_plus_two"), await load("picky")
    pids = [first.pid, second.pid]
    os.kill(_zygote_pid(zygotes), signal.SIGKILL)
    async with asyncio.timeout(60):
        [answer] = await ask(first, [avro(column(1))])
        assert answer.code is Code.OK
        [answer] = await ask(second, [avro(floats(1))])
        assert answer.code is Code.OK
    async with asyncio.timeout(10):
        while any(_is_alive(pid) for pid in pids):
            await asyncio.sleep(0)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("yields_cpu", [True, False])
async def test_every_thread_of_a_worker_may_use_every_core(load: Load, yields_cpu: bool) -> None:
    """A worker that loaded on one core has all its cores back when it serves."""
    servable = await load("half_plus_two", yields_cpu=yields_cpu)
    await ask(servable, [avro(column(1))])
    threads = _threads(servable.pid)
    assert len(threads) > 1
    assert {frozenset(os.sched_getaffinity(t)) for t in threads} == {
        frozenset(os.sched_getaffinity(0))
    }


async def test_a_worker_costs_little_memory_of_its_own(load: Load) -> None:
    """What the zygote has imported is shared and not copied."""
    servable = await load("half_plus_two")
    await ask(servable, [avro(column(1))])
    assert _private_kilobytes(servable.pid) < 100 * 1024


async def test_warm_up_decides_whether_a_version_serves(load: Load) -> None:
    """Recorded requests run before the version serves; a failing or unreadable one fails it."""
    servable = await load("warmed")
    [answer] = await ask(servable, [avro(column(1))])
    assert answer.code is Code.OK
    with pytest.raises(ModelRejected, match="warm-up request 2 failed: INVALID_ARGUMENT"):
        await load("badly_warmed")
    with pytest.raises(ArtifactCorrupt, match="is not a TFRecord file"):
        await load("wrongly_warmed")


async def test_a_failed_load_gives_its_artefact_back(
    zygotes: Zygotes, store: Path, tmp_path: Path
) -> None:
    """After failing and unloading, nothing of the cache is in use, so all of it can be pruned."""
    cache = ArtifactCache(tmp_path / "cache", max_bytes=1)
    async with WorkerLoader(cache, zygotes) as loader:
        with pytest.raises(LoadCrashed):
            await loader.load(publish(model("hostile"), store), Batching(), yields_cpu=False)
        servable = await loader.load(publish(model("picky"), store), Batching(), yields_cpu=False)
        await servable.unload()
        last = await loader.load(publish(model("upper"), store), Batching(), yields_cpu=False)
        assert len(list((tmp_path / "cache").glob("sha256-*"))) == 1
        await last.unload()


def _zygote_pid(zygotes: Zygotes) -> int:
    pid = zygotes.pid("tensorflow")
    assert pid is not None
    return pid


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def _private_kilobytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = dict(line.split()[:2] for line in rollup.splitlines()[1:])
    return int(sizes["Private_Dirty:"]) + int(sizes["Private_Clean:"])


def _children(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
