"""Versions tried and compared before they are published: real models in workers, a real log."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent, indent

import pytest

from headrace.publisher import (
    ExamplesFailed,
    ExamplesNotRun,
    Incompatible,
    InvalidArgument,
    KafkaConnection,
    ModelPublisher,
)
from headrace.publisher.history import read_control
from headrace.publisher.progress import Progress, Tried
from headrace.publisher.topics import ensure_topics
from headrace.publisher.trial import run_trial
from headrace.schemas.records import Lifecycle, ModelVersion, Tolerance, Validation
from headrace.schemas.topics import Topics, specs
from headrace.schemas.trial import Example, Trial
from tests.models import model
from tests.onnx_models import write_onnx
from tests.python_models import VECTOR, write_python

PAGE = (Path(__file__).parents[3] / "docs/validation.md").read_text()
HALVES: Mapping[str, object] = {"inputs": {"x": [[1.0], [2.0]]}, "outputs": {"y": [[2.5], [3.0]]}}
FINITE: Mapping[str, object] = {"inputs": {"x": [[7]]}}
LOOSE = {"": Tolerance(absolute=0.01)}


def written(folder: Path, *examples: Mapping[str, object]) -> Path:
    """Write a file of examples."""
    file = folder / "examples.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in examples))
    return file


def python(folder: Path, statements: str) -> Path:
    """Write a model x float32 [n] → y = x, that does this first when it is asked."""
    folder.mkdir(exist_ok=True)
    work = indent(dedent(statements).strip(), " " * 8)
    method = f"    def predict(self, inputs):\n        x = inputs['x']\n{work}\n        return "
    (folder / "model.py").write_text(f"import os, signal, time\n{VECTOR}{method}{{'y': x}}\n")
    return folder


async def records(connection: KafkaConnection, topics: Topics) -> list[ModelVersion]:
    """Return the versions in the control log."""
    entries = await read_control(connection, topics)
    return [each.record for each in entries if isinstance(each.record, ModelVersion)]


def stored_in(folder: Path) -> set[Path]:
    """Return what is in the artefact store of a test."""
    return set(folder.rglob("store/**/*"))


@asynccontextmanager
async def nothing_written(
    connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> AsyncGenerator[None, None]:
    """Expect the block to leave the log and the store as they were."""
    await ensure_topics(connection, specs(topics))
    before, stored = await read_control(connection, topics), stored_in(tmp_path)
    yield
    assert await read_control(connection, topics) == before
    assert stored_in(tmp_path) == stored


def asked(*xs: float) -> list[Example]:
    """Return examples for `python`, in the lines from 1 on."""
    return [Example(line=line, inputs={"x": [x]}) for line, x in enumerate(xs, 1)]


def trial(folder: Path, examples: Sequence[Example], platform: str = "python") -> Trial:
    """Return a trial of a folder."""
    return Trial(model="m", platform=platform, path=str(folder), examples=examples)


async def gone(pid: int) -> None:
    """Return when a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(20):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def test_a_version_that_answers_its_examples_is_published_with_the_result(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """TensorFlow runs it; the event says so, and goes on saying so when the version is retired."""
    reports: list[Progress] = []
    published = await publisher.publish(
        "ranker",
        1,
        model("half_plus_two"),
        examples=written(tmp_path, HALVES, FINITE),
        on_progress=reports.append,
    )
    assert published.validation == Validation(examples=2)
    (record,) = await records(connection, topics)
    assert record.validation == Validation(examples=2)
    assert [each.name for each in record.interface] == ["serving_default"]
    tried = [each for each in reports if isinstance(each, Tried)]
    assert tried == [Tried(done_examples=n, total_examples=2) for n in range(3)]
    await publisher.retire("ranker", 1)
    retired = (await records(connection, topics))[-1]
    assert (retired.lifecycle, retired.validation) == (Lifecycle.RETIRED, Validation(examples=2))
    again = await publisher.publish("ranker", 1, model("half_plus_two"))
    assert again.validation == Validation(examples=2)


async def test_a_version_that_drifts_is_refused_unless_that_is_tolerated(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """The first faults are told by line, output and distance; nothing is written."""
    wrong = {**HALVES, "outputs": {"y": [[2.5], [3.005]]}}
    strange = {"inputs": {"x": [["a"]]}}
    missing = {"inputs": {"z": [[1.0]]}}
    other = {"inputs": {"x": [[1.0]]}, "signature": "score"}
    examples = written(tmp_path, HALVES, wrong, strange, missing, other)
    async with nothing_written(connection, topics, tmp_path):
        with pytest.raises(ExamplesFailed, match=r"4 of 5 examples failed") as caught:
            await publisher.publish("ranker", 1, model("half_plus_two"), examples=examples)
    faults = caught.value.faults
    assert faults[0].startswith("line 2: output 'y' at [1, 0]: expected 3.005, got 3.0, off by")
    assert faults[1] == "line 3: input 'x': expects float32, and has something else"
    assert "line 4: INVALID_ARGUMENT" in faults[2]
    assert "missing: x; unexpected: z" in faults[2]
    assert 'line 5: FAILED_PRECONDITION: Serving signature name: "score" not found' in faults[3]
    published = await publisher.publish(
        "ranker",
        1,
        model("half_plus_two"),
        examples=written(tmp_path, wrong),
        tolerances={"y": Tolerance(absolute=0.01)},
    )
    assert published.validation == Validation(examples=1)


async def test_an_onnx_model_is_tried_by_its_own_platform(
    publisher: ModelPublisher, tmp_path: Path
) -> None:
    """What is wrong with its answers is told alike."""
    folder = write_onnx("half_plus_two", tmp_path / "onnx")
    published = await publisher.publish("m", 1, folder, examples=written(tmp_path, HALVES))
    assert published.validation == Validation(examples=1)
    examples = written(tmp_path, {**FINITE, "outputs": {"y": 5.5}})
    with pytest.raises(ExamplesFailed, match=r"line 1: output 'y' has shape \[1, 1\], expected"):
        await publisher.publish("m", 2, folder, examples=examples, tolerances=LOOSE)


async def test_the_examples_of_the_page_are_examples(
    publisher: ModelPublisher, tmp_path: Path
) -> None:
    """Of docs/validation.md, asked of the model that it speaks of."""
    (block,) = re.findall(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "examples.jsonl").write_text(block)
    folder = write_onnx("half_plus_two", tmp_path / "onnx")
    published = await publisher.publish("m", 1, folder, examples=tmp_path / "examples.jsonl")
    assert published.validation == Validation(examples=3)


async def test_a_model_that_answers_with_no_number_is_refused(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """Also where nothing else is expected of it."""
    folder = python(tmp_path / "nan", "x = x * float('nan')")
    examples = written(tmp_path, {"inputs": {"x": [1.0, 2.0]}})
    async with nothing_written(connection, topics, tmp_path):
        with pytest.raises(ExamplesFailed, match="line 1: output 'y' has 2 of 2 elements that are"):
            await publisher.publish("m", 1, folder, examples=examples)


async def test_a_model_that_ends_its_worker_fails_by_the_line_that_did_it(tmp_path: Path) -> None:
    """The examples after it are run all the same."""
    folder = python(tmp_path / "m", "if x[0] == 13: os._exit(3)")
    with pytest.raises(ExamplesFailed, match=r"1 of 3 .*: line 2: UNAVAILABLE: worker died: exit"):
        await run_trial(trial(folder, asked(1, 13, 2)), 60)


async def test_a_model_that_raises_fails_with_its_words(tmp_path: Path) -> None:
    """As callers would get them."""
    folder = python(tmp_path / "m", "raise ValueError('no such customer')")
    with pytest.raises(ExamplesFailed, match="line 1: INTERNAL: ValueError: no such customer"):
        await run_trial(trial(folder, asked(1)), 60)


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("python", "the model does not load: python refused the model: .*ZeroDivisionError"),
        ("onnx", "the model does not load: onnx refused the model"),
    ],
)
async def test_a_model_that_does_not_load_is_refused(
    tmp_path: Path, platform: str, words: str
) -> None:
    """In the words of its platform."""
    (tmp_path / "model.py").write_text("1 / 0")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ExamplesFailed, match=words):
        await run_trial(trial(tmp_path, asked(1), platform), 60)


async def test_a_model_that_hangs_is_refused_when_its_time_is_up_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    """The line that it hangs in is named."""
    pid_file = tmp_path / "pid"
    hang = f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\nif x[0] == 2: time.sleep(999)"
    folder = python(tmp_path / "m", hang)
    with pytest.raises(ExamplesFailed, match=r"was still running the example in line 2 after 6 s"):
        await run_trial(trial(folder, asked(1, 2, 3)), 6)
    await gone(int(pid_file.read_text()))


async def test_a_cancelled_trial_leaves_no_process_behind(tmp_path: Path) -> None:
    """Ctrl-C while a model loads for minutes."""
    gate = tmp_path / "pid"
    os.mkfifo(gate)
    tell = f"with open({str(gate)!r}, 'w') as gate: gate.write(str(os.getpid()))\ntime.sleep(999)"
    running = asyncio.create_task(run_trial(trial(python(tmp_path / "m", tell), asked(1)), 60))
    async with asyncio.timeout(50):
        pid = int(await asyncio.to_thread(gate.read_text))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(pid)


async def test_a_killed_publisher_leaves_no_process_behind(tmp_path: Path) -> None:
    """What nobody waits for ends by itself."""
    gate = tmp_path / "pid"
    os.mkfifo(gate)
    tell = f"with open({str(gate)!r}, 'w') as gate: gate.write(str(os.getpid()))\ntime.sleep(999)"
    line = trial(python(tmp_path / "m", tell), asked(1)).encode()
    script = (
        "import asyncio\nfrom headrace.publisher.trial import run_trial\n"
        "from headrace.schemas.trial import Trial\n"
        f"asyncio.run(run_trial(Trial.decode({line!r}), 60))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    try:
        async with asyncio.timeout(50):
            pid = int(await asyncio.to_thread(gate.read_text))
    finally:
        process.kill()
        await process.wait()
    await gone(pid)


async def test_a_trial_that_is_killed_proves_nothing(tmp_path: Path) -> None:
    """By what kills when memory is short, say; the words tell how far it was."""
    kill = """
        parent = lambda pid: int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        if x[0] == 13:
            os.kill(parent(os.getppid()), signal.SIGKILL)
            time.sleep(999)
    """
    folder = python(tmp_path / "m", kill)
    with pytest.raises(
        ExamplesNotRun,
        match=rf"running the example in line 2 \(killed by signal {signal.SIGKILL:d}",
    ):
        await run_trial(trial(folder, asked(1, 13)), 60)


async def test_what_a_model_prints_is_no_report(tmp_path: Path) -> None:
    """Whichever way it writes to standard output."""
    noise = 'print(\'{"done": 7}\', flush=True)\nos.write(1, b"noise\\n" * 100000)'
    folder = python(tmp_path / "m", noise)
    await run_trial(trial(folder, asked(1, 2)), 60)


async def test_a_light_install_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing needs no serving part, running examples does."""
    source = 'raise ModuleNotFoundError("No module named \'msgspec\'", name="msgspec")'
    (tmp_path / "msgspec.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    folder = write_python("text", tmp_path / "m")
    for platform, extra in (("python", "serving"), ("onnx", "onnx")):
        words = rf"cannot be run here: No module named 'msgspec'; .* pip install 'headrace\[{extra}"
        with pytest.raises(ExamplesNotRun, match=words):
            await run_trial(trial(folder, asked(1), platform), 60)


async def test_an_unknown_platform_cannot_be_tried(tmp_path: Path) -> None:
    """The package that brings it is not here."""
    with pytest.raises(ExamplesNotRun, match="platform 'caffe' is not known here"):
        await run_trial(trial(tmp_path, asked(1), "caffe"), 60)


async def test_a_version_that_callers_cannot_call_is_refused_unless_allowed(
    publisher: ModelPublisher, connection: KafkaConnection, topics: Topics, tmp_path: Path
) -> None:
    """Compared with what is serving; the event says what came of it."""
    await publisher.publish("m", 1, model("half_plus_two"))
    fits = await publisher.publish("m", 2, write_onnx("half_plus_two", tmp_path / "onnx"))
    assert fits.validation == Validation(examples=0, compared_with=1)
    async with nothing_written(connection, topics, tmp_path):
        with pytest.raises(Incompatible, match=r"'text', string \(\?\), is new") as caught:
            await publisher.publish("m", 3, model("upper"))
    assert len(caught.value.faults) == 3
    allowed = await publisher.publish("m", 3, model("upper"), allow_incompatible=True)
    told = Validation(examples=0, compared_with=2, is_compatible=False)
    assert allowed.validation == told
    assert (await records(connection, topics))[-1].validation == told
    offset = await publisher.republish("m", 3)
    assert (await read_control(connection, topics))[-1].offset == offset
    assert (await records(connection, topics))[-1].validation == told
    # The version that is serving is not compared with the one before it.
    again = await publisher.publish("m", 3, model("upper"))
    assert again.validation == told


async def test_bad_examples_are_refused_before_anything_is_started(
    publisher: ModelPublisher, tmp_path: Path
) -> None:
    """The line is named."""
    (tmp_path / "examples.jsonl").write_text('{"inputs": {}}\nx\n')
    with pytest.raises(InvalidArgument, match=r"line 2 of .* is not JSON"):
        await publisher.publish("m", 1, tmp_path, examples=tmp_path / "examples.jsonl")
