"""The manifest lets exactly its own jars pass."""

import hashlib
import os
import re
from importlib import resources
from pathlib import Path

import pytest

from headrace.cli.broker.errors import LibrariesError
from headrace.cli.broker.libs import KAFKA_VERSION
from headrace.cli.broker.manifest import Manifest

_JARS = {"a-1.jar": b"first", "b-2.jar": b"second"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the jars of the manifest."""
    for name, content in _JARS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def manifest() -> Manifest:
    """A manifest of two small jars."""
    return Manifest({name: hashlib.sha256(content).hexdigest() for name, content in _JARS.items()})


def test_accepts_its_own_jars_again_and_again(folder: Path, manifest: Manifest) -> None:
    """The second look relies on the marker of the first."""
    manifest.verify(folder)
    manifest.verify(folder)


def test_refuses_a_changed_jar(folder: Path, manifest: Manifest) -> None:
    """One other byte is enough, and the message names the jar."""
    (folder / "b-2.jar").write_bytes(b"Second")

    with pytest.raises(LibrariesError, match=r"b-2\.jar has SHA-256 \w{64}, the manifest wants"):
        manifest.verify(folder)


def test_notices_a_jar_changed_after_it_was_verified(folder: Path, manifest: Manifest) -> None:
    """The marker holds only for the files as they were."""
    manifest.verify(folder)
    jar = folder / "b-2.jar"
    before = jar.stat()
    jar.write_bytes(b"Second")
    os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    with pytest.raises(LibrariesError, match=r"b-2\.jar"):
        manifest.verify(folder)


def test_names_missing_and_unexpected_jars(folder: Path, manifest: Manifest) -> None:
    """Both sets are told at once."""
    (folder / "a-1.jar").rename(folder / "a-9.jar")

    with pytest.raises(LibrariesError, match=r"missing: a-1\.jar; unexpected: a-9\.jar"):
        manifest.verify(folder)


def test_another_manifest_does_not_trust_the_marker(folder: Path, manifest: Manifest) -> None:
    """A newer package verifies the cache of an older one anew."""
    manifest.verify(folder)
    newer = Manifest({**manifest.sha256_by_name, "a-1.jar": "0" * 64})

    with pytest.raises(LibrariesError, match=r"a-1\.jar"):
        newer.verify(folder)


def test_pom_and_manifest_pin_the_same_kafka() -> None:
    """The version is written in three places that must change together."""
    package = resources.files("headrace.cli.broker")
    pom = (package / "pom.xml").read_text("utf-8")
    jars = (package / "jars.sha256").read_text("utf-8")

    pinned = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", pom)

    assert pinned is not None
    assert pinned[1] == KAFKA_VERSION
    assert f"  kafka_2.13-{KAFKA_VERSION}.jar\n" in jars
