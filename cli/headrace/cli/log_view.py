"""The control log of one model as an operator reads it: what each record changed, in order.

Pure: takes the entries of the log and returns rows or text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from headrace.cli.moments import iso
from headrace.cli.shadow_options import shadow_words
from headrace.publisher.configuration import policy_words
from headrace.publisher.history import ControlEntry
from headrace.schemas.errors import WireError
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    config_key,
    version_key,
)

_SHOWN_DIGEST: Final = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one record of the log did to the model.

    `what` is one of published, retired, forgotten, configured and unreadable; `details` says it in
    words.
    """

    offset: int
    timestamp_ms: int
    what: str
    details: str = ""
    version: int | None = None
    platform: str = ""
    digest: str = ""
    publisher: str = ""

    @property
    def time(self) -> str:
        """The time of the record by its broker timestamp, in UTC."""
        return iso(self.timestamp_ms)

    def as_json(self) -> dict[str, str | int | None]:
        """Return the row as `headrace history --json` prints it."""
        return {
            "offset": self.offset,
            "time": self.time,
            "what": self.what,
            "version": self.version,
            "details": self.details,
            "platform": self.platform or None,
            "digest": self.digest or None,
            "publisher": self.publisher or None,
        }


def changes(entries: Sequence[ControlEntry], model: str) -> list[Change]:
    """Return what the log still holds of one model, oldest first."""
    found: list[Change] = []
    config = ModelConfig(model=model)
    prefix = version_key(model, 0).removesuffix(b"0")
    for entry in entries:
        if entry.key.startswith(prefix):
            found.append(_version_change(entry, entry.key.removeprefix(prefix)))
        elif entry.key == config_key(model):
            found.append(_config_change(entry, config))
            if isinstance(entry.record, ModelConfig):
                config = entry.record
            elif entry.record is None:
                config = ModelConfig(model=model)
    return found


def _version_change(entry: ControlEntry, number: bytes) -> Change:
    record = entry.record
    version = int(number) if number.isdigit() else None
    if record is None:
        return _change(entry, "forgotten", version=version)
    if not isinstance(record, ModelVersion):
        return _unreadable(entry, version)
    if entry.key != version_key(record.model, record.version):
        words = f"the record is version {record.version} of {record.model!r}, its key is not"
        return _change(entry, "unreadable", words, version=version)
    is_retired = record.lifecycle is Lifecycle.RETIRED
    return Change(
        offset=entry.offset,
        timestamp_ms=entry.timestamp_ms,
        what="retired" if is_retired else "published",
        details="" if is_retired else record.uri,
        version=record.version,
        platform=record.platform,
        digest=record.digest,
        publisher=record.publisher,
    )


def _config_change(entry: ControlEntry, before: ModelConfig) -> Change:
    record = entry.record
    if record is None:
        return _change(entry, "forgotten", "the configuration: all defaults again")
    if not isinstance(record, ModelConfig):
        return _unreadable(entry, None)
    if entry.key != config_key(record.model):
        words = f"the record configures {record.model!r}, its key does not"
        return _change(entry, "unreadable", words)
    return _change(entry, "configured", difference(before, record))


def _unreadable(entry: ControlEntry, version: int | None) -> Change:
    words = str(entry.record) if isinstance(entry.record, WireError) else "not the kind it claims"
    return _change(entry, "unreadable", words, version=version)


def _change(
    entry: ControlEntry, what: str, details: str = "", version: int | None = None
) -> Change:
    return Change(
        offset=entry.offset,
        timestamp_ms=entry.timestamp_ms,
        what=what,
        details=details,
        version=version,
    )


def difference(before: ModelConfig, after: ModelConfig) -> str:
    """Return in words what differs between two configurations of a model."""
    old, new = _settings(before), _settings(after)
    words = [f"{name} {old[name]} → {new[name]}" for name in new if old.get(name) != new[name]]
    return "; ".join(words) or "nothing changed"


def _settings(config: ModelConfig) -> dict[str, str]:
    def pairs(mapping: Sequence[tuple[str, int]]) -> str:
        return ",".join(f"{name}={number}" for name, number in mapping) or "none"

    return {
        "policy": policy_words(config.policy),
        "labels": pairs(sorted(config.labels.items())),
        "split": pairs(sorted(config.split.items())),
        "preserving": config.preserving.value.lower(),
        "max batch rows": str(config.batching.max_rows),
        "batch timeout": f"{config.batching.timeout_micros} µs",
        "allowed batch rows": ",".join(map(str, config.batching.allowed_rows)) or "any",
        "pads variable length": "yes" if config.batching.pads_variable_length else "no",
        "large requests": config.batching.large_requests.lower().replace("_", " "),
        "replicas": str(config.replicas),
        "shadow": shadow_words(config.shadow),
    }


def render(found: Sequence[Change]) -> Table:
    """Return the changes as a table."""
    table = Table("offset", "time", "what", "version", "platform", "digest", "publisher", "details")
    table.box, table.pad_edge = None, False
    for change in found:
        style = "red" if change.what == "unreadable" else ""
        version = "" if change.version is None else str(change.version)
        table.add_row(
            str(change.offset),
            change.time,
            Text(change.what, style=style),
            version,
            Text(change.platform),
            change.digest[:_SHOWN_DIGEST],
            Text(change.publisher),
            Text(change.details, style=style),
        )
    return table
