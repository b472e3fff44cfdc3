"""What the fleet wanted as of some control record, and which records made it so.

Pure: takes the entries of the log and returns rows. The plan is the nodes' own fold.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from headrace.cli.moments import iso, parse_moment
from headrace.cli.shares import ArmRow, arm_rows
from headrace.consumer.core.plan import ControlEvent, Plan, PlannedModel, fold
from headrace.publisher.configuration import policy_words
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.history import ControlEntry
from headrace.schemas.errors import WireError
from headrace.schemas.records import ModelConfig, ModelVersion, config_key, version_key

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that the plan wants of a model, and the record that made it so.

    `entry` is None for what is wanted without any record: the default policy.
    """

    what: str
    words: str
    entry: ControlEntry | None
    fields: Mapping[str, str | int | float | None]

    def as_json(self) -> Json:
        """Return the line as `headrace plan --json` prints it."""
        because: Json = None
        if self.entry is not None:
            because = {
                "offset": self.entry.offset,
                "time": iso(self.entry.timestamp_ms),
                "publisher": _publisher(self.entry) or None,
            }
        return {**self.fields, "because": because}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """The plan as of a record; `removed` records before it were compacted away since.

    When later records may be what removed them, the plan may lack what they said.
    """

    offset: int
    timestamp_ms: int | None
    models: Mapping[str, Sequence[Line]]
    removed: int

    def as_json(self) -> Json:
        """Return the plan as `headrace plan --json` prints it."""
        return {
            "offset": self.offset,
            "time": None if self.timestamp_ms is None else iso(self.timestamp_ms),
            "removed_records": self.removed,
            "models": [
                {
                    "model": name,
                    "policy": next(line.as_json() for line in lines if line.what == "policy"),
                    "versions": [line.as_json() for line in lines if line.what == "version"],
                    "labels": [line.as_json() for line in lines if line.what == "label"],
                    "arms": [line.as_json() for line in lines if line.what == "arm"],
                }
                for name, lines in self.models.items()
            ],
        }


def offset_of(entries: Sequence[ControlEntry], at: str, now_ms: int | None = None) -> int:
    """Return the offset of the last record that `--at` covers: an offset, or a time.

    Raises:
        InvalidArgument: it is neither, or lies outside of the log.
    """
    if not entries:
        raise InvalidArgument(f"--at {at!r}: the control log is empty: publish something first")
    first, last = entries[0], entries[-1]
    if re.fullmatch(r"-?\d{1,19}", at.strip()):
        offset = int(at)
        if not first.offset <= offset <= last.offset:
            raise InvalidArgument(
                f"--at {offset} is not in the control log, which holds offsets {first.offset} to "
                f"{last.offset}"
            )
        return offset
    moment_ms = parse_moment("--at", at)
    if moment_ms > (time.time_ns() // 1_000_000 if now_ms is None else now_ms):
        raise InvalidArgument(f"--at {at!r} is in the future: {iso(moment_ms)}")
    covered = [entry.offset for entry in entries if entry.timestamp_ms <= moment_ms]
    if not covered:
        raise InvalidArgument(
            f"--at {at!r} is before the first record of the control log (offset {first.offset} of "
            f"{iso(first.timestamp_ms)}): nothing was wanted then, or it is no longer known"
        )
    return covered[-1]


def plan_as_of(
    entries: Sequence[ControlEntry], offset: int | None = None, model: str | None = None
) -> PlanView:
    """Return what the fleet wanted as of an offset, by default as of the end of the log."""
    end = entries[-1].offset if entries else -1
    at = end if offset is None else offset
    told = [entry for entry in entries if entry.offset <= at]
    fit = [entry for entry in told if _is_fit(entry)]
    plan = fold(Plan(), [_event(entry) for entry in fit])
    return PlanView(
        offset=at,
        timestamp_ms=told[-1].timestamp_ms if told else None,
        models={
            name: _lines(plan.models[name], fit)
            for name in sorted(plan.models)
            if model in (None, name)
        },
        # Whatever a record up to `at` has overwritten, the plan does not need.
        removed=at + 1 - len(told) if at < end else 0,
    )


def render(view: PlanView) -> Table:
    """Return the plan as a table."""
    table = Table("model", "what", "wanted", "offset", "time", "publisher")
    table.box, table.pad_edge = None, False
    for name, lines in view.models.items():
        for line in lines:
            entry = line.entry
            because = (
                ("-", "", "(default)")
                if entry is None
                else (str(entry.offset), iso(entry.timestamp_ms), _publisher(entry))
            )
            table.add_row(Text(name), line.what, Text(line.words), *map(Text, because))
    return table


def _lines(model: PlannedModel, fit: Sequence[ControlEntry]) -> list[Line]:
    config = model.config or ModelConfig(model=model.name)
    past = _configs(fit, model.name)
    at = {entry.offset: entry for entry in fit}
    lines = [
        Line(
            what="version",
            words=str(number),
            entry=at[planned.control_offset],
            fields={"version": number, "digest": planned.record.digest, "uri": planned.record.uri},
        )
        for number in sorted(model.wanted())
        for planned in [model.versions[number]]
    ]
    policy = policy_words(config.policy)
    made = _since(past, lambda one: one.policy)
    lines.append(Line(what="policy", words=policy, entry=made, fields={"policy": policy}))
    lines += [_label_line(label, config, past) for label in sorted(config.labels)]
    lines += [_arm_line(row, past) for row in arm_rows(config)]
    return lines


def _label_line(label: str, config: ModelConfig, past: Sequence[ControlEntry]) -> Line:
    version = config.labels[label]
    return Line(
        what="label",
        words=f"{label} = {version}",
        entry=_since(past, lambda one: one.labels.get(label)),
        fields={"label": label, "version": version},
    )


def _arm_line(row: ArmRow, past: Sequence[ControlEntry]) -> Line:
    return Line(
        what="arm",
        words=f"{row.arm} {row.share_percent:g} % → {row.leads_to}",
        entry=_since(past, lambda one: [arm for arm in arm_rows(one) if arm.arm == row.arm]),
        fields=row.as_json(),
    )


def _configs(fit: Sequence[ControlEntry], model: str) -> list[ControlEntry]:
    """Return the records of a model's configuration since it was last forgotten, oldest first."""
    found: list[ControlEntry] = []
    for entry in fit:
        if entry.key == config_key(model):
            found = [] if entry.record is None else [*found, entry]
    return found


def _since(
    past: Sequence[ControlEntry], value_of: Callable[[ModelConfig], object]
) -> ControlEntry | None:
    """Return the record since which all have had the value that the last one has."""
    made: ControlEntry | None = None
    last: object = None
    for entry in reversed(past):
        if isinstance(entry.record, ModelConfig):
            value = value_of(entry.record)
            if made is not None and value != last:
                break
            made, last = entry, value
    return made


def _is_fit(entry: ControlEntry) -> bool:
    """Whether a node folds the record: it can be read, and its key tells the same story."""
    match entry.record:
        case None:
            return True
        case WireError():
            return False
        case ModelVersion(model=model, version=version):
            return entry.key == version_key(model, version)
        case ModelConfig(model=model):
            return entry.key == config_key(model)


def _event(entry: ControlEntry) -> ControlEvent:
    record = entry.record
    return ControlEvent(entry.offset, entry.key, None if isinstance(record, WireError) else record)


def _publisher(entry: ControlEntry) -> str:
    return entry.record.publisher if isinstance(entry.record, ModelVersion) else ""
