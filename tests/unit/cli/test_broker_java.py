"""Which Java is accepted: asked through small programs that answer as a `java` would."""

from pathlib import Path

import pytest

from headrace.cli.broker.errors import JavaError
from headrace.cli.broker.java import find_java


def _answering(folder: Path, *lines: str, exit_code: int = 0) -> Path:
    """Put a `java` into `folder` that prints `lines` as Java does, on standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    java = folder / "java"
    told = "".join(f"echo '{line}' >&2\n" for line in lines)
    java.write_text(f"#!/bin/sh\n{told}exit {exit_code}\n", "utf-8")
    java.chmod(0o755)
    return java


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; JAVA_HOME is unset."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("first_line", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('java version "21.0.4" 2024-07-16 LTS', 21),
    ],
)
def test_accepts_java_that_is_new_enough(path_folder: Path, first_line: str, major: int) -> None:
    """Releases, early-access builds and other vendors are read alike."""
    executable = _answering(path_folder, first_line)

    java = find_java()

    assert (java.major, java.executable) == (major, executable)


@pytest.mark.parametrize(
    ("first_line", "major"),
    [('openjdk version "11.0.22" 2024-01-16', 11), ('java version "1.8.0_402"', 8)],
)
def test_refuses_java_that_is_too_old(path_folder: Path, first_line: str, major: int) -> None:
    """The message names the version found and the one needed."""
    _answering(path_folder, first_line)

    with pytest.raises(JavaError, match=rf"is Java {major} and Kafka needs 17; install Java 17"):
        find_java()


def test_says_what_to_install_when_there_is_no_java(path_folder: Path) -> None:
    """An empty PATH gives the remedy, not a stack of calls."""
    assert not path_folder.exists()

    with pytest.raises(JavaError, match="there is none on PATH; install Java 17 or newer"):
        find_java()


def test_repeats_what_a_broken_java_says(path_folder: Path) -> None:
    """A launcher without a Java behind it (as some systems ship) is no Java."""
    _answering(path_folder, "Unable to locate a Java Runtime.", exit_code=1)

    with pytest.raises(JavaError, match="does not run: Unable to locate a Java"):
        find_java()


def test_prefers_java_home_over_path(
    path_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAVA_HOME is a choice, PATH is a habit."""
    _answering(path_folder, 'openjdk version "11.0.1"')
    chosen = _answering(tmp_path / "jdk" / "bin", 'openjdk version "17.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    assert find_java().executable == chosen


def test_does_not_fall_back_from_a_wrong_java_home(
    path_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JAVA_HOME that leads nowhere is a mistake to tell, not to work around."""
    _answering(path_folder, 'openjdk version "17.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))

    with pytest.raises(JavaError, match=r"JAVA_HOME is .*gone, where there is no bin/java"):
        find_java()


def test_looks_behind_a_version_managers_script(path_folder: Path, tmp_path: Path) -> None:
    """The binary that Java names as its home runs, so that no script stands between it and us."""
    real = _answering(tmp_path / "jdk" / "bin", "unused")
    _answering(path_folder, f"    java.home = {tmp_path / 'jdk'}", 'openjdk version "17.0.1"')

    assert find_java().executable == real
