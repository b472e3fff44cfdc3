"""A control log in memory: records in order, what a publisher knows of them, and compaction."""

from __future__ import annotations

from collections.abc import Collection

from headrace.publisher.history import ControlEntry
from headrace.publisher.known import Known
from headrace.publisher.rollback import Step
from headrace.schemas import codec
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    config_key,
    version_key,
)


class LogInMemory:
    """Takes records as the broker would; each has passed through its bytes."""

    def __init__(self) -> None:
        self.entries: list[ControlEntry] = []

    @property
    def known(self) -> Known:
        """What the log says now."""
        return Known.of(self.entries)

    def version(self, number: int, model: str = "m", *, retired: bool = False) -> None:
        """Publish or retire a version."""
        record = ModelVersion(
            model=model,
            version=number,
            uri=f"file:///store/{number}",
            digest=f"sha256:{number}",
            size_bytes=1,
            lifecycle=Lifecycle.RETIRED if retired else Lifecycle.PUBLISHED,
            publisher="ada@train",
        )
        read = codec.decode(codec.encode(record), ModelVersion)
        self._append(version_key(model, number), read)

    def config(self, config: ModelConfig) -> None:
        """Write a configuration as it is."""
        read = codec.decode(codec.encode(config), ModelConfig)
        self._append(config_key(config.model), read)

    def take(self, step: Step) -> Step:
        """Write what a step comes to, and return it."""
        self.config(step.config)
        return step

    def forget(self, number: int, model: str = "m") -> None:
        """Write a tombstone."""
        self._append(version_key(model, number), None)

    def compacted(self, removed: Collection[int]) -> list[ControlEntry]:
        """Return the log without those of the records `removed` that a later one overwrote."""
        last = {entry.key: entry.offset for entry in self.entries}
        return [
            entry
            for entry in self.entries
            if entry.offset not in removed or last[entry.key] == entry.offset
        ]

    def _append(self, key: bytes, record: ModelVersion | ModelConfig | None) -> None:
        offset = len(self.entries)
        self.entries.append(
            ControlEntry(offset=offset, timestamp_ms=1_000 * offset, key=key, record=record)
        )
