"""The command line of the JVM that runs Kafka, light for laptops or fast for measuring."""

from dataclasses import dataclass
from typing import Literal, Self

from headrace.cli.broker import config
from headrace.cli.broker.class_data import ClassDataArchive
from headrace.cli.broker.java import Java
from headrace.cli.broker.libs import KafkaLibs

Profile = Literal["light", "fast"]
"""``light``: about 155 MB and a quick start. ``fast``: 1 GB heap and the full compiler."""

_FLAGS: dict[Profile, tuple[str, ...]] = {
    "light": ("-Xms96m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "fast": ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC"),
}
# Half a broker without memory is worse than none.
_ALWAYS = ("-Xshare:auto", "-XX:+ExitOnOutOfMemoryError")
_LOGGING = (
    f"-Dlog4j2.configurationFile={config.LOG4J_PROPERTIES}",
    f"-Dkafka.logs.dir={config.LOGS_FOLDER}",
)


@dataclass(frozen=True)
class KafkaJvm:
    """One Java, one set of jars and one set of flags, from which each command line is made."""

    java: Java
    libs: KafkaLibs
    flags: tuple[str, ...]
    archive: ClassDataArchive | None

    @classmethod
    def with_profile(cls, java: Java, libs: KafkaLibs, profile: Profile) -> Self:
        """Choose flags; recorded class data is kept in our own cache only, for the light ones."""
        flags = (*_FLAGS[profile], *_ALWAYS)
        is_recorded = libs.is_ours and profile == "light"
        archive = ClassDataArchive.beside(libs.folder, java, flags) if is_recorded else None
        return cls(java, libs, flags, archive)

    def format_command(self, cluster_id: str, *options: str) -> list[str]:
        """The command that formats the storage folder, once in its life."""
        return self._command(
            self.archive.use_flags() if self.archive else (),
            *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
            *("-t", cluster_id, "-c", config.SERVER_PROPERTIES, *options),
        )

    def broker_command(self) -> list[str]:
        """The command that runs the broker."""
        archive = self.archive
        return self._command(
            (*archive.use_flags(), *archive.record_flags()) if archive else (),
            *("kafka.Kafka", config.SERVER_PROPERTIES),
        )

    def _command(self, class_data_flags: tuple[str, ...], *main: str) -> list[str]:
        return [
            str(self.java.executable),
            *self.flags,
            *class_data_flags,
            *_LOGGING,
            *("-cp", self.libs.classpath),
            *main,
        ]
