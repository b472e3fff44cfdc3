"""What became of a wish: the results that a publisher returns."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.schemas.records import Earlier, ModelConfig, Validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version whose event is in the log, and what was checked of it before.

    `served_by` names the nodes that `wait` saw serve it.
    """

    model: str
    version: int
    platform: str
    digest: str
    uri: str
    control_offset: int
    served_by: tuple[str, ...] = ()
    validation: Validation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A retired version; `released_by` names the live nodes that `wait` saw without it."""

    model: str
    version: int
    control_offset: int
    released_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A model's configuration as the log has it now, and what the model served before and serves.

    `skipped` says in words what a rollback passed over, `applied_by` names the live nodes that
    `wait` saw follow.
    """

    config: ModelConfig
    control_offset: int
    before: Earlier
    after: Earlier
    skipped: tuple[str, ...] = ()
    applied_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """The control-topic keys that were removed; `control_offset` is that of the last tombstone."""

    keys: tuple[str, ...]
    control_offset: int
