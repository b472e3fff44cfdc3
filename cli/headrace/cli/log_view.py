"""The control log of one model as an operator reads it: what each record changed, in order.

Pure: takes the entries of the log and returns rows or text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.table import Table
from rich.text import Text

from headrace.cli.moments import iso
from headrace.cli.shadow_options import shadow_words
from headrace.publisher import rollback
from headrace.publisher.configuration import policy_words
from headrace.publisher.history import ControlEntry
from headrace.publisher.known import Known
from headrace.publisher.rollback import is_rollback, state, timeline
from headrace.schemas.errors import EventRefused, WireError
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    Validation,
    config_key,
    version_key,
)

_SHOWN_DIGEST: Final = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one record of the log did to the model.

    `what` is one of published, retired, forgotten, configured, rolled back, unreadable and refused;
    `details` says it in words. `signed_by` is the key, when the signature was verified.
    """

    offset: int
    timestamp_ms: int
    what: str
    details: str = ""
    version: int | None = None
    platform: str = ""
    digest: str = ""
    publisher: str = ""
    signed_by: str = ""

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
            "signed_by": self.signed_by or None,
        }


def changes(
    entries: Sequence[ControlEntry], model: str, *, is_verified: bool = False
) -> list[Change]:
    """Return what the log still holds of one model, oldest first.

    `is_verified` says that the entries passed a gate with trusted keys: who signed is known.
    """
    found = _changes(entries, model)
    if not is_verified:
        return found
    signers = {entry.offset: entry.signed_by for entry in entries}
    return [replace(change, signed_by=signers[change.offset]) for change in found]


def _changes(entries: Sequence[ControlEntry], model: str) -> list[Change]:
    found: list[Change] = []
    config = ModelConfig(model=model)
    prefix = version_key(model, 0).removesuffix(b"0")
    told: list[ControlEntry] = []
    for entry in entries:
        if entry.key.startswith(prefix):
            found.append(_version_change(entry, entry.key.removeprefix(prefix)))
            told.append(entry)
        elif entry.key == config_key(model):
            found.append(_config_change(entry, config, Known.of(told)))
            told.append(entry)
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
        details="" if is_retired else _published(record),
        version=record.version,
        platform=record.platform,
        digest=record.digest,
        publisher=record.publisher,
    )


def _published(record: ModelVersion) -> str:
    return "; ".join(filter(None, (record.uri, validation_words(record.validation))))


def validation_words(validation: Validation | None) -> str:
    """Return in words what was checked of a version; nothing when nothing was."""
    if validation is None:
        return ""
    count = validation.examples
    words = [f"{count} example{'s' if count > 1 else ''} passed"] if count else []
    if validation.compared_with is not None:
        fits = "compatible" if validation.is_compatible else "not compatible"
        words.append(f"{fits} with version {validation.compared_with}")
    return ", ".join(words)


def _config_change(entry: ControlEntry, before: ModelConfig, known: Known) -> Change:
    record = entry.record
    if record is None:
        return _change(entry, "forgotten", "the configuration: all defaults again")
    if not isinstance(record, ModelConfig):
        return _unreadable(entry, None)
    if entry.key != config_key(record.model):
        words = f"the record configures {record.model!r}, its key does not"
        return _change(entry, "unreadable", words)
    words = difference(before, record)
    if not is_rollback(known, record):
        return _change(entry, "configured", words)
    was, now = timeline(known, record.model).current, state(record, known.published(record.model))
    return _change(entry, "rolled back", f"{rollback.difference(was, now)}; {words}")


def _unreadable(entry: ControlEntry, version: int | None) -> Change:
    words = str(entry.record) if isinstance(entry.record, WireError) else "not the kind it claims"
    what = "refused" if isinstance(entry.record, EventRefused) else "unreadable"
    return _change(entry, what, words, version=version)


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
    names = ["offset", "time", "what", "version", "platform", "digest", "publisher", "details"]
    has_signers = any(change.signed_by for change in found)
    table = Table(*names, *(["signed by"] if has_signers else []))
    table.box, table.pad_edge = None, False
    for change in found:
        style = "red" if change.what in ("unreadable", "refused") else ""
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
            *([Text(change.signed_by)] if has_signers else []),
        )
    return table
