"""Which Java runs Kafka: the one of ``JAVA_HOME``, else the first on ``PATH``, 17 or newer."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headrace.cli.broker.errors import JavaError

MIN_JAVA = 17
_REMEDY = f"install Java {MIN_JAVA} or newer and put it on PATH or in JAVA_HOME"
_ANSWER_SECONDS = 30.0
# "17.0.15", "25-ea", and "1.8.0_402" of the times when 8 was called 1.8.
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_PROPERTY = re.compile(r"^\s+(java\.home|java\.vm\.version) = (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Java:
    """One Java that is new enough.

    `build` names the exact virtual machine: class data recorded with one build fits no other.
    """

    executable: Path
    major: int
    build: str


def find_java() -> Java:
    """Ask the user's Java for its version.

    Raises:
        JavaError: there is none, it does not run, or it is older than 17.
    """
    executable = _locate()
    try:
        answer = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JavaError(f"{executable} does not run: {error}; {_REMEDY}") from error
    told = answer.stderr + answer.stdout
    version = _VERSION.search(told)
    if answer.returncode != 0 or version is None:
        first_line = next((line.strip() for line in told.splitlines() if line.strip()), "no output")
        raise JavaError(f"{executable} does not run: {first_line}; {_REMEDY}")
    major = int(version[1])
    if major < MIN_JAVA:
        raise JavaError(f"{executable} is Java {major} and Kafka needs {MIN_JAVA}; {_REMEDY}")
    properties = dict(_PROPERTY.findall(told))
    return Java(
        executable=_behind_shims(executable, properties.get("java.home")),
        major=major,
        build=f"{properties.get('java.home')} {properties.get('java.vm.version', version[0])}",
    )


def _locate() -> Path:
    java_home = os.environ.get("JAVA_HOME")
    if java_home:
        executable = Path(java_home, "bin", "java")
        if not executable.is_file():
            raise JavaError(f"JAVA_HOME is {java_home}, where there is no bin/java; {_REMEDY}")
        return executable
    found = shutil.which("java")
    if found is None:
        raise JavaError(f"Kafka needs Java and there is none on PATH; {_REMEDY}")
    return Path(found)


def _behind_shims(executable: Path, java_home: str | None) -> Path:
    """Prefer the real binary: a version manager's script may fork, and a fork is not tethered."""
    real = Path(java_home, "bin", "java") if java_home else executable
    return real if real.is_file() else executable
