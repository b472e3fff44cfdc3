"""Which jars make Kafka, and their SHA-256: ``jars.sha256``, made from a real resolve."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.cli.broker.errors import LibrariesError

_MARKER = "verified"


@dataclass(frozen=True)
class Manifest:
    """The expected jars of one Kafka version, by name.

    **Concurrency:** immutable.
    """

    sha256_by_name: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file in the format of ``sha256sum``."""
        pairs = (line.split() for line in path.read_text("utf-8").splitlines())
        return cls({name: sha256 for sha256, name in pairs})

    def verify(self, folder: Path) -> None:
        """Check that `folder` holds these jars, byte for byte, and no others.

        All bytes are hashed once; a marker then lists name, size and time of each jar, and while
        it fits, later calls only look at those.

        Raises:
            LibrariesError: a jar is missing, unexpected or different.
        """
        marker, seal = folder / _MARKER, self._seal(folder)
        if marker.is_file() and marker.read_text("utf-8") == seal:
            return
        self._compare(folder)
        # A cache that this user may only read is as good, it is just hashed each time.
        with contextlib.suppress(OSError):
            marker.write_text(seal, "utf-8")

    def _compare(self, folder: Path) -> None:
        found = {jar.name for jar in folder.glob("*.jar")}
        wanted = set(self.sha256_by_name)
        if found != wanted:
            missing = ", ".join(sorted(wanted - found)) or "none"
            unexpected = ", ".join(sorted(found - wanted)) or "none"
            raise LibrariesError(
                f"the jars in {folder} are not those of Kafka's manifest: "
                f"missing: {missing}; unexpected: {unexpected}"
            )
        for name, expected in self.sha256_by_name.items():
            with (folder / name).open("rb") as jar:
                actual = hashlib.file_digest(jar, "sha256").hexdigest()
            if actual != expected:
                raise LibrariesError(
                    f"{folder / name} has SHA-256 {actual}, the manifest wants {expected}; not used"
                )

    def _seal(self, folder: Path) -> str:
        lines = [f"{sha256} {name}" for name, sha256 in sorted(self.sha256_by_name.items())]
        for jar in sorted(folder.glob("*.jar")):
            stat = jar.stat()
            lines.append(f"{jar.name} {stat.st_size} {stat.st_mtime_ns}")
        return "\n".join(lines)
