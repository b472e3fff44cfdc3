"""The zygote and its workers as processes: who ends whom, and what does not end them."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.errors import ModelRejected
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.zygote_client import Zygote, Zygotes
from tests.integration.consumer.conftest import Load
from tests.integration.consumer.workers.rig import ask, avro, column, outputs, publish
from tests.models import model

on_the_module_loop = pytest.mark.asyncio(loop_scope="module")

NODE = """
import asyncio, sys
from pathlib import Path
from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching, ModelVersion

async def main(uri, digest, size, cache):
    record = ModelVersion(
        model="m", version=1, uri=uri, digest=digest, size_bytes=int(size)
    )
    async with Zygotes() as zygotes, WorkerLoader(ArtifactCache(Path(cache), 1), zygotes) as loader:
        servable = await loader.load(PlannedVersion(record, 0), Batching(), yields_cpu=True)
        print("pids", zygotes.pid("tensorflow"), servable.pids[0], flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def test_workers_die_with_the_node(store: Path, tmp_path: Path) -> None:
    """When the node is killed, its zygote and its workers end, too."""
    record = publish(model("half_plus_two"), store).record
    arguments = [record.uri, record.digest, str(record.size_bytes), str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", NODE, *arguments], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        pids: list[int] = []
        for line in node.stdout:
            if line.startswith("pids "):
                pids = [int(word) for word in line.split()[1:]]
                break
        assert len(pids) == 2
        descriptors = [os.pidfd_open(pid) for pid in pids]
        node.send_signal(signal.SIGKILL)
    for descriptor in descriptors:
        readable, _, _ = select.select([descriptor], [], [], 20)
        os.close(descriptor)
        assert readable, "a process outlived its node"


@on_the_module_loop
async def test_signals_of_the_terminal_end_nobody(load: Load, zygotes: Zygotes) -> None:
    """Ctrl-C reaches the whole process group; the node alone decides what ends."""
    servable = await load("half_plus_two")
    pid, zygote = servable.pids[0], zygotes.pid("tensorflow")
    assert zygote is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(zygote, number)
        os.kill(pid, number)
    [answer] = await ask(servable, [avro(column(1))])
    assert outputs(answer)["y"] == [[2.5]]
    another = await load("half_plus_two")
    assert (servable.pids[0], zygotes.pid("tensorflow")) == (pid, zygote)
    assert another.pids != [pid]


@on_the_module_loop
async def test_a_zygote_has_one_thread(load: Load, zygotes: Zygotes) -> None:
    """Forking a process with threads would be unsafe; it has one, also after forks."""
    await load("half_plus_two")
    zygote = zygotes.pid("tensorflow")
    assert zygote is not None
    status = Path(f"/proc/{zygote}/status").read_text()  # noqa: ASYNC240 - not a disk
    assert "\nThreads:\t1\n" in status


@on_the_module_loop
async def test_leaving_the_context_ends_zygote_and_workers() -> None:
    """Workers end with their zygote, and their owners are told."""
    async with asyncio.timeout(60), Zygote("tensorflow") as zygote:
        worker = await zygote.fork()
        descriptor = os.pidfd_open(worker.pid)
    assert zygote.pid is None
    assert await worker.exited == "killed with its zygote"
    readable, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    worker.stream.close()
    assert readable


@on_the_module_loop
async def test_an_unfit_platform_is_told_in_words() -> None:
    """A zygote that cannot import its platform says so and does not make the node wait."""
    async with asyncio.timeout(60), Zygote("no-such-platform") as zygote:
        with pytest.raises(ModelRejected, match="'no-such-platform' is not known here"):
            await zygote.fork()


def test_the_node_never_imports_tensorflow() -> None:
    """Importing the node's side of the workers imports no platform."""
    code = (
        "import sys, headrace.consumer.workers.loader, headrace.consumer.workers.zygote_client;"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@on_the_module_loop
async def test_a_platform_is_imported_once_it_is_expected(tmp_path: Path, store: Path) -> None:
    """Before there is a load slot; what is not known here is left to the load to tell."""
    cache = ArtifactCache(tmp_path, max_bytes=2**30)
    planned = publish(model("half_plus_two"), store)
    async with asyncio.timeout(60), Zygotes() as zygotes:
        async with WorkerLoader(cache, zygotes) as loader:
            assert zygotes.pid("python") is None
            for platform in ("python", "python", "no-such-platform"):
                loader.expect(replace(planned, record=replace(planned.record, platform=platform)))
        # Leaving the loader waits for what it has begun.
        assert zygotes.pid("python") is not None
        assert zygotes.pid("tensorflow") is None


@on_the_module_loop
async def test_a_platform_with_threads_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform of another package that starts one when it is imported could not be forked."""
    metadata = tmp_path / "busy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: busy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[headrace.platforms]\nbusy = busy:PLATFORM\n")
    (tmp_path / "busy.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "class PLATFORM:\n  preload = staticmethod(lambda: None)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*filter(None, sys.path), str(tmp_path)]))
    async with asyncio.timeout(60), Zygote("busy") as zygote:
        with pytest.raises(ModelRejected, match="platform busy has 2 threads after its import"):
            await zygote.fork()
