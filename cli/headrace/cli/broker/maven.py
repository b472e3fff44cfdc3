"""One Maven run that copies Kafka's jars into a folder, told jar by jar."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Container
from pathlib import Path

from headrace.cli.broker.errors import LibrariesError
from headrace.cli.broker.process import tethered

LIBS_VARIABLE = "HEADRACE_KAFKA_LIBS"
_REMEDY = f"or point {LIBS_VARIABLE} at a folder with the jars of a Kafka release"
_SILENCE_SECONDS = 300.0
_EXIT_SECONDS = 10.0
_LONGEST_LINE_BYTES = 1 << 20
_JAR = re.compile(r"([^/\s]+\.jar)\b")


def find_maven() -> Path:
    """Return the Maven on PATH.

    Raises:
        LibrariesError: there is none.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise LibrariesError(
            f"Kafka's jars are fetched by Maven, once, and there is no mvn on PATH; "
            f"install Maven, {_REMEDY}"
        )
    return Path(maven)


async def copy_jars(
    maven: Path, pom: Path, folder: Path, wanted: Container[str], on_jar: Callable[[str], None]
) -> None:
    """Resolve the dependencies of `pom` into `folder`; `on_jar` hears each wanted jar once.

    Raises:
        LibrariesError: Maven failed, or said nothing for five minutes.
    Cancellation: Maven is killed; `folder` may hold some of the jars.
    """
    command = [str(maven), "-B", "-f", str(pom), "dependency:copy-dependencies"]
    process = await asyncio.create_subprocess_exec(
        *tethered([*command, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        limit=_LONGEST_LINE_BYTES,
        # A group of its own, so that the launcher script and its Java end together.
        start_new_session=True,
    )
    try:
        complaint = await _follow(process, wanted, on_jar)
        async with asyncio.timeout(_EXIT_SECONDS):
            exit_code = await process.wait()
    except TimeoutError:
        raise LibrariesError(
            f"Maven said nothing for {_SILENCE_SECONDS:.0f} s; check the network, {_REMEDY}"
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if exit_code != 0:
        raise LibrariesError(
            f"Maven could not fetch Kafka's jars: {complaint or f'exit code {exit_code}'}; "
            f"check the network and Maven's settings, {_REMEDY}"
        )


async def _follow(process: Process, wanted: Container[str], on_jar: Callable[[str], None]) -> str:
    """Read Maven's lines to their end; return its first error, or else its last line."""
    assert process.stdout is not None
    seen: set[str] = set()
    first_error, last_line = "", ""
    while True:
        async with asyncio.timeout(_SILENCE_SECONDS):
            line = (await process.stdout.readline()).decode("utf-8", "replace").strip()
        if not line and process.stdout.at_eof():
            return first_error or last_line
        last_line = line or last_line
        if not first_error and line.startswith("[ERROR] "):
            first_error = line.removeprefix("[ERROR] ")
        jar = _JAR.search(line)
        # "Downloading" announces, "Downloaded" and "Copying" have it.
        if jar and jar[1] in wanted and jar[1] not in seen and "Downloading" not in line:
            seen.add(jar[1])
            on_jar(jar[1])
