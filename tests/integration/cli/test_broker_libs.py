"""Kafka's jars: fetched once by Maven, verified, kept; nothing half is ever seen."""

import asyncio
import os
import shutil
from pathlib import Path

import platformdirs
import pytest

from headrace.cli.broker import libs
from headrace.cli.broker.errors import LibrariesError

_PATIENCE_SECONDS = 100.0


def _ignore(_line: str) -> None:
    """Drop progress."""


@pytest.fixture
async def real_jars(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this user, filled when it is not yet."""
    monkeypatch.delenv("HEADRACE_KAFKA_LIBS", raising=False)
    return (await libs.resolve(_ignore)).folder


@pytest.fixture
def cache(tmp_path: Path, real_jars: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the jars of this test will be; empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = platformdirs.user_cache_path("headrace") / real_jars.name
    assert tmp_path in cache.parents
    return cache


def _maven_that(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put another `mvn` first on PATH; it finds the folder for the jars in $jars."""
    folder = tmp_path / "bin"
    folder.mkdir()
    maven = folder / "mvn"
    find_folder = 'for word; do case "$word" in -DoutputDirectory=*) jars="${word#*=}";; esac; done'
    maven.write_text(f"#!/bin/sh\n{find_folder}\n{script}\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def _overwrite_first_byte(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def _jars(folder: Path) -> set[str]:
    return {jar.name for jar in folder.glob("*.jar")}


def _entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_two_at_once_end_with_one_complete_folder(cache: Path, real_jars: Path) -> None:
    """Each works in a folder of its own, and the slower one adopts the folder of the faster."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        first, second = await asyncio.gather(libs.resolve(_ignore), libs.resolve(_ignore))

    assert first == second == libs.KafkaLibs(cache, is_ours=True)
    assert _jars(cache) == _jars(real_jars)
    assert _entries(cache.parent) == [cache.name]


async def test_a_damaged_cache_is_fetched_anew(cache: Path, real_jars: Path) -> None:
    """A flipped bit on the disk is noticed, told and repaired."""
    shutil.copytree(real_jars, cache)
    _overwrite_first_byte(cache / f"kafka_2.13-{libs.KAFKA_VERSION}.jar")
    told: list[str] = []

    async with asyncio.timeout(_PATIENCE_SECONDS):
        await libs.resolve(told.append)

    assert "has SHA-256" in told[0]
    assert told[0].endswith("fetching the jars anew")
    again: list[str] = []
    await libs.resolve(again.append)
    assert again == []


async def test_a_jar_with_other_bytes_is_never_used(
    cache: Path, real_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a mirror delivers under the right name, the manifest decides."""
    tampered = "slf4j-api-1.7.36.jar"
    script = (
        f'cp -r "{real_jars}" "$jars" && rm "$jars/verified" && echo more >> "$jars/{tampered}"'
    )
    _maven_that(tmp_path, script, monkeypatch)

    with pytest.raises(LibrariesError, match=rf"{tampered} has SHA-256 .* not used"):
        await libs.resolve(_ignore)

    assert _entries(cache.parent) == []


@pytest.mark.parametrize(
    "script",
    [
        "echo '[INFO] Scanning'; echo '[ERROR] no route to mirror'; echo '[ERROR] more'; exit 1",
        "echo 'no route to mirror' >&2; exit 1",
    ],
)
async def test_repeats_why_maven_failed(
    cache: Path, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first error, or its last words; and what to do."""
    _maven_that(tmp_path, script, monkeypatch)

    with pytest.raises(LibrariesError, match=r"jars: no route to mirror; check the network"):
        await libs.resolve(_ignore)

    assert _entries(cache.parent) == []


async def test_cancelling_ends_maven_and_removes_what_it_had(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during the first start leaves no process and no half folder."""
    pid_file = tmp_path / "pid"
    lines = [f"Downloaded: x/{name}.jar" for name in ("kafka-raft-4.3.1", "kafka-server-4.3.1")]
    lines += [
        f"Downloaded: x/kafka-{name}-4.3.1.jar" for name in ("clients", "storage", "metadata")
    ]
    echoes = "".join(f"echo '{line}'\n" for line in lines)
    _maven_that(tmp_path, f'echo $$ > "{pid_file}"\n{echoes}exec sleep 600', monkeypatch)
    fetched = asyncio.Event()

    def hear(line: str) -> None:
        if "5 of 46" in line:
            fetched.set()

    resolving = asyncio.ensure_future(libs.resolve(hear))
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await fetched.wait()
    resolving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await resolving

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert _entries(cache.parent) == []


async def test_uses_the_users_own_folder_as_it_is(
    real_jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEADRACE_KAFKA_LIBS needs neither Maven nor the manifest."""
    monkeypatch.setenv("HEADRACE_KAFKA_LIBS", str(real_jars))

    found = await libs.resolve(_ignore)

    assert found == libs.KafkaLibs(real_jars, is_ours=False)
    assert found.version == libs.KAFKA_VERSION
