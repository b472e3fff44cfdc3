"""ONNX models and Python classes in real workers: batches, strings, deadlines, bad manners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import ModelRejected
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.servable import WorkerServable
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import Batching
from tests.integration.consumer.workers.rig import (
    ENCODINGS,
    ask,
    avro,
    column,
    floats,
    outputs,
    proto,
    publish,
)
from tests.onnx_models import write_onnx
from tests.python_models import write_python

Load = Callable[[str, str], Awaitable[WorkerServable]]

pytestmark = pytest.mark.asyncio(loop_scope="module")
WRITE = {"onnx": write_onnx, "python": write_python}
METHODS = "  def __init__(self, folder): pass\n  def predict(self, inputs): return inputs"
ON_BOTH = pytest.mark.parametrize("platform", WRITE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zygotes() -> AsyncGenerator[Zygotes]:
    """The zygotes of a node."""
    async with Zygotes() as opened:
        yield opened


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ArtifactCache:
    """An empty cache."""
    return ArtifactCache(tmp_path_factory.mktemp("cache"), max_bytes=2**30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loader(zygotes: Zygotes, cache: ArtifactCache) -> AsyncGenerator[WorkerLoader]:
    """A loader with a cache of its own."""
    options = WorkerOptions(load_timeout_seconds=60.0, hang_grace_seconds=0.2)
    async with WorkerLoader(cache, zygotes, options) as opened:
        yield opened


def planned(platform: str, name: str, folder: Path) -> PlannedVersion:
    """Return a model as the log tells of it."""
    version = publish(WRITE[platform](name, folder / platform / name), folder / "store")
    return replace(version, record=replace(version.record, platform=platform))


@pytest_asyncio.fixture(loop_scope="module")
async def load(loader: WorkerLoader, tmp_path: Path) -> AsyncGenerator[Load]:
    """A function that loads a model; what it loaded is unloaded after the test."""
    async with AsyncExitStack() as stack:

        async def loaded(platform: str, name: str) -> WorkerServable:
            version = planned(platform, name, tmp_path)
            servable = await loader.load(version, Batching(), yields_cpu=True)
            stack.push_async_callback(servable.unload)
            return servable

        yield loaded


def text(*values: bytes) -> dict[str, npt.NDArray[np.object_]]:
    """Return the input of the models that repeat text."""
    return {"text": np.array(values, object)}


@ON_BOTH
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_answers_in_each_encoding(load: Load, platform: str, encoding: str) -> None:
    """What a request is encoded as is nothing to the platform."""
    servable = await load(platform, "half_plus_two")
    calls = [ENCODINGS[encoding](column(*range(rows))) for rows in (1, 2, 3)]
    for rows, answer in enumerate(await ask(servable, calls), start=1):
        np.testing.assert_array_equal(
            outputs(answer)["y"], np.arange(rows, dtype=np.float32)[:, None] / 2 + 2
        )


@ON_BOTH
async def test_strings_are_bytes_to_callers(load: Load, platform: str) -> None:
    """Also those beyond ASCII, and empty ones."""
    servable = await load(platform, "text")
    values = ["Füße".encode(), b"", b"plain"]
    [answer] = await ask(servable, [proto(text(*values))])
    assert outputs(answer)["same_text"].tolist() == values


async def test_bytes_that_are_no_text_are_refused_by_onnx(load: Load) -> None:
    """ONNX has text only; the request beside is answered."""
    servable = await load("onnx", "text")
    bad, good = await ask(servable, [proto(text(b"\xff")), proto(text(b"a"))])
    assert (bad.code, "not UTF-8" in bad.message) == (Code.INVALID_ARGUMENT, True)
    assert outputs(good)["same_text"].tolist() == [b"a"]


async def test_onnx_dtypes(load: Load) -> None:
    """Half floats, truth values and whole numbers keep their dtype."""
    servable = await load("onnx", "kinds")
    inputs = {
        "half": np.array([0.5, 2], np.float16),
        "flag": np.array([True, False]),
        "whole": np.array([2**40, -1]),
    }
    [answer] = await ask(servable, [avro(inputs)])
    given = outputs(answer)
    for alias, array in inputs.items():
        assert given[f"same_{alias}"].dtype == array.dtype
        np.testing.assert_array_equal(given[f"same_{alias}"], array)


async def test_weights_may_lie_beside_an_onnx_model(load: Load) -> None:
    """External data is part of the artefact."""
    [answer] = await ask(await load("onnx", "with_weights"), [avro(column(1))])
    assert outputs(answer)["y"] == [[2.5]]


async def test_onnx_rows_of_two_batches_are_not_mixed(load: Load) -> None:
    """Inputs with different symbols for their first dimension do not grow together."""
    servable = await load("onnx", "two_batches")
    table = {"table": np.full((1, 1), 10, np.float32)}
    answers = await ask(servable, [avro({**column(n), **table}) for n in range(4)])
    assert [outputs(answer)["y"].tolist() for answer in answers] == [[[n + 10]] for n in range(4)]
    assert [len(outputs(answer)["rows"]) for answer in answers] == [1] * 4


async def test_a_deadline_ends_a_run_of_onnx(load: Load) -> None:
    """The worker goes on with the next request, and is the same."""
    servable = await load("onnx", "endless")
    pids = servable.pids
    [late] = await ask(servable, [avro(floats(1), seconds=0.3)])
    assert late.code is Code.DEADLINE_EXCEEDED
    [answer] = await ask(servable, [avro(floats(0))])
    assert (outputs(answer)["y"].tolist(), servable.pids) == ([0], pids)


async def test_what_onnxruntime_cannot_feed_is_refused_when_it_loads(load: Load) -> None:
    """The words name the tensor."""
    with pytest.raises(ModelRejected, match=r"'x' is a tensor\(bfloat16\), which cannot be fed"):
        await load("onnx", "brain")


async def test_rows_of_python_requests_are_run_as_one(load: Load) -> None:
    """What came together is one call of `predict`, unless the class wants no company."""
    together, alone = await load("python", "counting"), await load("python", "alone")
    calls = [avro(floats(1, 2)), avro(floats(3))]
    assert [outputs(each)["y"].tolist() for each in await ask(together, calls)] == [[3, 3], [3]]
    assert [outputs(each)["y"].tolist() for each in await ask(alone, calls)] == [[2, 2], [1]]


async def test_exceptions_of_python_are_answers(load: Load) -> None:
    """Also `sys.exit`; neighbours are answered, and the process is the same."""
    servable = await load("python", "picky")
    pids = servable.pids
    raised, left, good = await ask(servable, [avro(floats(x)) for x in (100, 200, 1)])
    assert (raised.code, raised.message) == (Code.INTERNAL, "ValueError: x is too large")
    assert (left.code, left.message) == (Code.INTERNAL, "SystemExit: 3")
    assert (outputs(good)["y"].tolist(), servable.pids) == ([1], pids)


async def test_a_traceback_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not to the caller; and what a model prints goes there, too."""
    cache = ArtifactCache(tmp_path / "cache", max_bytes=2**30)
    async with Zygotes() as zygotes, WorkerLoader(cache, zygotes) as loader:
        for name in ("picky", "noisy"):
            version = planned("python", name, tmp_path)
            servable = await loader.load(version, Batching(), yields_cpu=False)
            await ask(servable, [avro(floats(100))])
    logged = capfd.readouterr().err
    assert "model.py" in logged
    assert "asked on stdout" in logged


async def test_noise_hurts_nobody(load: Load) -> None:
    """A model may print and leave threads running."""
    servable = await load("python", "noisy")
    [answer] = await ask(servable, [avro(floats(1))])
    assert outputs(answer)["y"].tolist() == [1]
    async with asyncio.timeout(20):
        await servable.unload()


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (1, "gave output 'y' of shape (1, 1); its signature says (?)"),
        (2, "gave no output 'y'; it gave"),
        (3, "of dtype complex128; its signature says float32"),
        (4, "predict returned ndarray; expected a dict of arrays"),
        (5, "of dtype object; its signature says float32"),
    ],
)
async def test_outputs_of_python_are_held_against_the_signature(
    load: Load, x: int, words: str
) -> None:
    """A class that gives something else than it says is told so, request by request."""
    servable = await load("python", "lying")
    bad, good = await ask(servable, [avro(floats(x)), avro(floats(9))])
    assert bad.code is Code.INTERNAL
    assert words in bad.message
    assert outputs(good)["y"].dtype == np.float32


async def test_a_python_model_that_hangs_is_ended(load: Load) -> None:
    """Nothing ends a call of Python safely, so its worker is replaced."""
    servable = await load("python", "sleepy")
    pids = servable.pids
    [late] = await ask(servable, [avro({"seconds": np.full(1, 60, np.float32)}, seconds=0.3)])
    assert late.code is Code.DEADLINE_EXCEEDED
    [answer] = await ask(servable, [avro({"seconds": np.zeros(1, np.float32)})])
    assert outputs(answer)["seconds"].tolist() == [0]
    assert servable.pids != pids


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("Model = 3", "model.py has no class Model"),
        ("class Model:\n  def __init__(self, folder): pass", "Model has no method predict"),
        (
            f"class Model:\n  inputs = outputs = {{'x': ('float33', (None,))}}\n{METHODS}",
            r"Model.inputs has to be like .*float33",
        ),
        (
            f"class Model:\n  inputs = outputs = {{'x': ('datetime64[s]', ())}}\n{METHODS}",
            r"'x' has dtype datetime64\[s\], which no request can carry",
        ),
    ],
)
async def test_a_class_that_cannot_be_used_says_why(
    loader: WorkerLoader, tmp_path: Path, source: str, words: str
) -> None:
    """The version fails with words, and trying again would not help."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "model.py").write_text(source)
    version = publish(folder, tmp_path / "store")
    version = replace(version, record=replace(version.record, platform="python"))
    with pytest.raises(ModelRejected, match=words):
        await loader.load(version, Batching(), yields_cpu=False)


async def test_nothing_is_written_into_the_artefact(
    load: Load, cache: ArtifactCache, tmp_path: Path
) -> None:
    """It has a digest to keep: what Python compiles stays out of it."""
    record = planned("python", "half_plus_two", tmp_path).record
    folder = await cache.fetch(record.uri, record.digest)
    await load("python", "half_plus_two")
    assert sorted(each.name for each in folder.iterdir()) == [
        "model.py",
        "numbers_of_mine.py",
        "two.txt",
    ]
    cache.release(record.digest)


async def test_zygotes_have_one_thread_and_are_there_when_wanted(
    load: Load, zygotes: Zygotes
) -> None:
    """The one of TensorFlow was never wanted here."""
    for platform in WRITE:
        await load(platform, "half_plus_two")
        status = Path(f"/proc/{zygotes.pid(platform)}/status").read_text()  # noqa: ASYNC240
        assert "\nThreads:\t1\n" in status
    assert zygotes.pid("tensorflow") is None
