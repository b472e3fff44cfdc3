"""Kafka's jars on this machine: a folder of the user, or a verified cache that Maven fills."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from headrace.cli.broker.errors import LibrariesError
from headrace.cli.broker.manifest import Manifest
from headrace.cli.broker.maven import LIBS_VARIABLE, copy_jars, find_maven

KAFKA_VERSION = "4.3.1"
"""The Kafka that `pom.xml` and `jars.sha256` pin; the three change together."""

_HERE = Path(__file__).parent
_REPORT_EVERY = 5


@dataclass(frozen=True)
class KafkaLibs:
    """A folder of jars that make one Kafka; `is_ours` when it is the cache and not the user's."""

    folder: Path
    is_ours: bool

    @property
    def classpath(self) -> str:
        """All jars in a fixed order: class-data sharing depends on the order."""
        return os.pathsep.join(str(jar) for jar in sorted(self.folder.glob("*.jar")))

    @property
    def version(self) -> str:
        """The version in the name of Kafka's main jar."""
        jar = next(self.folder.glob("kafka_2.13-*.jar"))
        return jar.stem.removeprefix("kafka_2.13-")


async def resolve(on_progress: Callable[[str], None]) -> KafkaLibs:
    """Find Kafka's jars, fetching them on first use.

    `HEADRACE_KAFKA_LIBS` names a folder to use as it is; otherwise the cache of this user is
    filled by Maven into a folder beside it and renamed when complete and verified, so that a
    reader never sees half of it and two processes may do it at once.

    Raises:
        LibrariesError: no complete set of jars could be had.
    """
    own = os.environ.get(LIBS_VARIABLE)
    if own:
        return KafkaLibs(_checked(Path(own)), is_ours=False)
    manifest = Manifest.read(_HERE / "jars.sha256")
    cache = platformdirs.user_cache_path("headrace") / f"kafka-{KAFKA_VERSION}"
    if cache.is_dir():
        try:
            manifest.verify(cache)
        except LibrariesError as error:
            on_progress(f"{error}; fetching the jars anew")
            shutil.rmtree(cache, ignore_errors=True)
        else:
            return KafkaLibs(cache, is_ours=True)
    await _fill(cache, manifest, on_progress)
    return KafkaLibs(cache, is_ours=True)


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise LibrariesError(f"{LIBS_VARIABLE} is {folder}, which is not a folder")
    if not any(folder.glob("kafka_2.13-*.jar")):
        raise LibrariesError(
            f"{LIBS_VARIABLE} is {folder}, which holds no kafka_2.13-*.jar; "
            f"it should be the libs folder of a Kafka {KAFKA_VERSION} release, or unset"
        )
    return folder.resolve()


async def _fill(cache: Path, manifest: Manifest, on_progress: Callable[[str], None]) -> None:
    expected = len(manifest.sha256_by_name)
    fetched = 0

    def count(jar: str) -> None:
        nonlocal fetched
        fetched += 1
        if fetched % _REPORT_EVERY == 0 or fetched == expected:
            on_progress(f"fetching Kafka {KAFKA_VERSION}: {fetched} of {expected} jars ({jar})")

    maven = find_maven()
    on_progress(f"fetching Kafka {KAFKA_VERSION} with Maven, once ({expected} jars, about 45 MB)")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f"{cache.name}.", dir=cache.parent, ignore_cleanup_errors=True
        ) as scratch:
            pom, jars = Path(scratch, "pom.xml"), Path(scratch, "jars")
            # A copy: Maven may write beside its pom, and an installed package may be read-only.
            shutil.copyfile(_HERE / "pom.xml", pom)
            await copy_jars(maven, pom, jars, manifest.sha256_by_name, count)
            manifest.verify(jars)
            _move_into_place(jars, cache)
    except OSError as error:
        raise LibrariesError(f"cannot write the cache {cache}: {error.strerror}") from error


def _move_into_place(jars: Path, cache: Path) -> None:
    try:
        jars.rename(cache)
    except OSError:
        # Another process was faster; its folder appeared by the same rename, complete.
        if not cache.is_dir():
            raise
