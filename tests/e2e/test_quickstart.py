"""`headrace quickstart`, whole: real broker, node, training, clients, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

LINE = re.compile(
    r"quickstart ok: versions=4 grpc_answers=(\d+) kafka_answers=(\d+) failed=0 "
    r"accuracy=(\d\.\d\d)→(\d\.\d\d)→(\d\.\d\d)→(\d\.\d\d)\n"
)
DIGITS = 450
# Every process that the quickstart starts, and what those start, has this variable.
MARK = "QUICKSTART_UNDER_TEST"

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Running:
    """A quickstart under way, and the mark of all its processes."""

    process: asyncio.subprocess.Process
    mark: str

    async def wait_said(self, words: str) -> None:
        """Return when a line of progress has the words."""
        assert self.process.stderr is not None
        seen: list[str] = []
        async with asyncio.timeout(120):
            while line := (await self.process.stderr.readline()).decode():
                seen.append(line)
                if words in line:
                    return
        raise AssertionError(f"never said {words!r}: {''.join(seen)}")

    def left(self) -> dict[int, str]:
        """Return the processes that carry the mark, by id."""
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode()
            except OSError:
                continue
        return found

    async def wait_nothing_left(self) -> None:
        """Return when no process carries the mark any more; the kernel tells nobody."""
        try:
            async with asyncio.timeout(30):
                while self.left():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"outlived the quickstart: {self.left()}") from None


@asynccontextmanager
async def quickstart(
    tmp: Path, *arguments: str, **environment: str
) -> AsyncGenerator[Running, None]:
    """Start the command with temporary files in `tmp`."""
    mark = uuid.uuid4().hex
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", "quickstart", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp), MARK: mark} | environment,
    )
    running = Running(process, mark)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        await running.wait_nothing_left()


async def test_ends_by_itself_with_every_request_answered_and_the_accuracy_rising(
    tmp_path: Path,
) -> None:
    """The line that scripts rely on, exit code 0, no process and no file left."""
    async with quickstart(tmp_path, "--duration", "1") as running:
        out, err = await running.process.communicate()
        assert running.process.returncode == 0, err.decode()
        found = LINE.fullmatch(out.decode())
        assert found is not None, out.decode()
        grpc_answers, kafka_answers = int(found[1]), int(found[2])
        assert min(grpc_answers, kafka_answers) >= 4 * DIGITS
        accuracies = [float(text) for text in found.groups()[2:]]
        assert accuracies[0] < accuracies[1] < accuracies[3]
        assert accuracies[3] > 0.9
        assert running.left() == {}
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib would block, it is said


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
async def test_a_signal_in_the_middle_stops_everything_in_order(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Killed while both clients ask, it leaves no process and no file."""
    async with quickstart(tmp_path) as running:
        await running.wait_said("version 1 is served")
        assert len(running.left()) >= 5
        running.process.send_signal(number)
        out, err = await running.process.communicate()
        assert (running.process.returncode, out) == (code, b"")
        assert b"Traceback" not in err
        assert running.left() == {}
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib would block, it is said


async def test_nothing_outlives_a_quickstart_that_is_killed_hard(tmp_path: Path) -> None:
    """Broker, node, trainer and client are tied to it, whatever ends it."""
    async with quickstart(tmp_path) as running:
        await running.wait_said("node starts")
        running.process.kill()
        await running.wait_nothing_left()


async def test_keeps_running_on_request_and_says_how_to_talk_to_it(tmp_path: Path) -> None:
    """After the line, broker and node answer until Ctrl-C, which is then no failure."""
    arguments = ("--versions", "1", "--duration", "0", "--keep-running")
    async with quickstart(tmp_path, *arguments) as running:
        assert running.process.stdout is not None
        async with asyncio.timeout(120):
            line = (await running.process.stdout.readline()).decode()
        assert line.startswith("quickstart ok: versions=1 ")
        await running.wait_said("headrace predict digits --inputs")
        running.process.send_signal(signal.SIGINT)
        await running.process.communicate()
        assert running.process.returncode == 0
        assert running.left() == {}
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib would block, it is said


async def test_a_failure_is_one_line(tmp_path: Path) -> None:
    """Without Java there is no broker: the line says so, and nothing has been started."""
    async with quickstart(tmp_path, PATH=str(tmp_path), JAVA_HOME="") as running:
        out, err = await running.process.communicate()
        assert (running.process.returncode, out) == (1, b"")
        assert err.decode().splitlines()[-1].startswith("quickstart failed: ")
        assert "Java" in err.decode()
