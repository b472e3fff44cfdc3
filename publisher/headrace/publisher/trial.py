"""Has a candidate answer its examples, in a process of its own that a node's code runs in.

Owns that process: what it is told, how long it may take, and its end. Nothing of it is imported
here, so that publishing without examples needs none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final, NoReturn

from headrace.publisher.errors import ExamplesFailed, ExamplesNotRun
from headrace.schemas.trial import Report, Trial, Verdict

MODULE: Final = "headrace.consumer.validation"
_MAX_LINE_BYTES: Final = 2**20
_SHOWN_LINES: Final = 3
_LAST_WORDS_SECONDS: Final = 1.0


async def run_trial(
    trial: Trial, timeout_seconds: float, on_done: Callable[[int], None] = lambda _done: None
) -> None:
    """Return when the candidate has answered all of its examples as it should.

    Args:
        trial: the candidate and its examples.
        timeout_seconds: how long all of it may take.
        on_done: told of the examples that are done; of 0 when the candidate has loaded.

    Raises:
        ExamplesFailed: it did not load, did not answer in time, or answered otherwise.
        ExamplesNotRun: what runs it is not installed, or ended by itself.

    Cancellation: the process and its workers are killed.
    """
    done: int | None = None

    def progressed(count: int) -> None:
        nonlocal done
        done = count
        on_done(count)

    try:
        async with asyncio.timeout(timeout_seconds):
            ended = await _run(trial, progressed)
    except TimeoutError:
        raise ExamplesFailed(
            f"the model was still {_doing(trial, done)} after {timeout_seconds:g} s: nothing was "
            "published; allow more time with --validation-timeout (validation_timeout=…) if it "
            "needs that long"
        ) from None
    if isinstance(ended, str):
        raise ExamplesNotRun(
            f"what runs the examples ended while the model was {_doing(trial, done)} ({ended}): "
            "nothing was published"
        )
    _judge(ended, trial)


async def _run(trial: Trial, on_done: Callable[[int], None]) -> Report | str:
    """Return the last report, or in words how the process ended without one."""
    process = await asyncio.create_subprocess_exec(
        # Not from the working folder: a stray tensorflow.py must not be the platform.
        *(sys.executable, "-P", "-m", MODULE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=_MAX_LINE_BYTES,
        # Ctrl-C is for us; we end it.
        start_new_session=True,
    )
    lines: deque[str] = deque(maxlen=_SHOWN_LINES)
    ended: Report | str = ""
    try:
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(_ask(process, trial))
            reading = tasks.create_task(_keep_last(process, lines))
            async for report in _reports(process):
                if report.verdict is not None:
                    ended = report
                    break
                on_done(report.done)
            else:
                code = await process.wait()
                await asyncio.wait([reading], timeout=_LAST_WORDS_SECONDS)
                ended = ": ".join(filter(None, (_words(code), " ".join(lines))))
            asking.cancel()
            reading.cancel()
    finally:
        # Its workers die with it.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return ended


async def _ask(process: asyncio.subprocess.Process, trial: Trial) -> None:
    """Say what is to be done; the stream stays open, for its end tells that nobody waits."""
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(trial.encode())
        await process.stdin.drain()


async def _reports(process: asyncio.subprocess.Process) -> AsyncGenerator[Report, None]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield Report.decode(line)


async def _keep_last(process: asyncio.subprocess.Process, lines: deque[str]) -> None:
    """Keep what it says last on standard error: there, models print what they like."""
    assert process.stderr is not None
    rest = b""
    while chunk := await process.stderr.read(2**16):
        *whole, rest = (rest[-1000:] + chunk).split(b"\n")
        lines.extend(line.decode(errors="replace")[:500] for line in whole if line.strip())


def _judge(report: Report, trial: Trial) -> None:
    match report.verdict:
        case Verdict.FAILED:
            _refuse(report, len(trial.examples))
        case Verdict.REFUSED:
            raise ExamplesFailed(
                f"{' '.join(report.faults)}: nothing was published",
                report.faults,
            )
        case Verdict.UNAVAILABLE:
            raise ExamplesNotRun(
                f"the examples cannot be run here: {' '.join(report.faults)}", report.faults
            )
        case _:
            return


def _refuse(report: Report, total: int) -> NoReturn:
    faults = report.faults
    more = report.failed - len(faults)
    raise ExamplesFailed(
        f"{report.failed} of {total} examples failed, and nothing was published: "
        f"{'; '.join(faults)}{f'; and {more} more' if more > 0 else ''}",
        faults,
    )


def _doing(trial: Trial, done: int | None) -> str:
    if done is None:
        return "loading"
    if done == len(trial.examples):
        return "ending"
    return f"running the example in line {trial.examples[done].line}"


def _words(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
