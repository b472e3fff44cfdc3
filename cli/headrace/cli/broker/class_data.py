"""Class data that a former run of Kafka recorded, which halves the time to start.

The JVM maps the loaded classes from an archive instead of parsing the jars again. An archive
fits one build of one JVM, one set of flags and one class path; the JVM checks that itself and
starts without it when it does not fit, so a stale archive costs time and nothing else.

Source: JEP 350, dynamic class-data sharing archives (Java 13 and newer).
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.cli.broker.java import Java

# The JVM complains of an archive that does not fit, and of each class that it cannot record.
_QUIET = "-Xlog:cds*=off"


@dataclass(frozen=True)
class ClassDataArchive:
    """Where the archive is kept, and where this run records one when there is none yet.

    **Concurrency:** any number of processes may use or record it at once: each records into a
    file of its own, and a rename puts it into place.
    """

    kept: Path
    recording: Path

    @classmethod
    def beside(cls, jars: Path, java: Java, flags: tuple[str, ...]) -> Self:
        """Choose the archive in the folder of the jars for this JVM and these flags."""
        identity = hashlib.sha256("\n".join([java.build, *flags]).encode()).hexdigest()[:16]
        kept = jars / f"classes-{identity}.jsa"
        return cls(kept, kept.with_suffix(f".{os.getpid()}.tmp"))

    def use_flags(self) -> tuple[str, ...]:
        """Flags that make the JVM use the archive; none while there is no archive."""
        return (f"-XX:SharedArchiveFile={self.kept}", _QUIET) if self.kept.is_file() else ()

    def record_flags(self) -> tuple[str, ...]:
        """Flags that make the JVM record an archive when it exits; none when one is there."""
        if self.kept.is_file() or not os.access(self.kept.parent, os.W_OK):
            return ()
        return (f"-XX:ArchiveClassesAtExit={self.recording}", _QUIET)

    def settle(self, *, ended_well: bool) -> None:
        """After the JVM's exit: keep what it recorded, or drop it when it was cut short."""
        with contextlib.suppress(FileNotFoundError):
            if ended_well:
                self.recording.replace(self.kept)
            else:
                self.recording.unlink()
