"""What the control log already says, and what it therefore allows.

Pure: made of a log that was read, and asked by the publisher before it appends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.publisher.configuration import check_number, policy_words
from headrace.publisher.errors import (
    InvalidArgument,
    StillPublished,
    UnknownVersion,
    VersionConflict,
)
from headrace.publisher.history import ControlEntry, latest
from headrace.publisher.shadows import shadow_route
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    VersionPolicy,
    config_key,
    version_key,
)
from headrace.schemas.wanted import wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The last readable record of every version and configuration.

    `offsets` tell by control key where that record stands.

    **Concurrency:** immutable; a snapshot of the log before `next_offset`.
    """

    versions: Mapping[str, Mapping[int, ModelVersion]]
    configs: Mapping[str, ModelConfig]
    next_offset: int
    offsets: Mapping[bytes, int] = field(default_factory=dict[bytes, int])

    @classmethod
    def of(cls, entries: Sequence[ControlEntry]) -> Known:
        """Return what a log as it was read says."""
        versions: dict[str, dict[int, ModelVersion]] = {}
        configs: dict[str, ModelConfig] = {}
        last = latest(entries)
        for entry in last.values():
            if isinstance(entry.record, ModelVersion):
                versions.setdefault(entry.record.model, {})[entry.record.version] = entry.record
            elif isinstance(entry.record, ModelConfig):
                configs[entry.record.model] = entry.record
        end = entries[-1].offset + 1 if entries else 0
        offsets = {key: entry.offset for key, entry in last.items()}
        return cls(versions=versions, configs=configs, next_offset=end, offsets=offsets)

    def published(self, model: str) -> frozenset[int]:
        """Return the versions of a model that are published and not retired."""
        records = self.versions.get(model, {})
        return frozenset(n for n, v in records.items() if v.lifecycle is Lifecycle.PUBLISHED)

    def wanted(self, model: str) -> frozenset[int]:
        """Return the versions of a model that its configuration asks for."""
        config = self.configs.get(model, ModelConfig(model=model))
        return wanted(config, self.published(model))

    def number(self, model: str, wanted: int | None, digest: str) -> int:
        """Return the number under which bytes of that digest may be published.

        Raises:
            VersionConflict: the wanted number is taken by other bytes.
            InvalidArgument: there is no number after the highest.
        """
        taken = self.versions.get(model, {})
        if wanted is None:
            following = max(taken, default=0) + 1
            check_number(following)
            return following
        holder = taken.get(wanted)
        if holder is not None and holder.digest != digest:
            raise VersionConflict(
                f"version {wanted} of {model!r} was published with other bytes "
                f"({_short(holder.digest)} by {holder.publisher or 'unknown'}; this is "
                f"{_short(digest)}): publish as version {max(taken) + 1}, or free the number with "
                f"'headrace forget {model} {wanted}'"
            )
        return wanted

    def version(self, model: str, version: int) -> ModelVersion:
        """Return the record of a version.

        Raises:
            UnknownVersion: there is none.
        """
        taken = self.versions.get(model, {})
        if version not in taken:
            known = ", ".join(str(number) for number in sorted(taken)) or "none"
            raise UnknownVersion(
                f"there is no version {version} of {model!r} in the control log (known: {known}): "
                "see 'headrace history'"
            )
        return taken[version]

    def check_shadow(self, config: ModelConfig) -> None:
        """Raise InvalidArgument unless there is what the configuration's requests are mirrored to.

        A version or a label that is not there yet is refused too: nobody would answer. What the
        log says already may stay.
        """
        route, before = shadow_route(config), self.configs.get(config.model)
        if route is None or (before is not None and shadow_route(before) == route):
            return
        versions = {
            number
            for number, record in self.versions.get(route.model, {}).items()
            if record.lifecycle is Lifecycle.PUBLISHED
        }
        other = config if route.model == config.model else self.configs.get(route.model)
        if not versions and not (other and other.split):
            what = f"model {route.model!r} has no version that is published"
        elif route.version is not None and route.version not in versions:
            what = f"version {route.version} of {route.model!r} is not published"
        elif route.label is not None and (other is None or route.label not in other.labels):
            what = f"model {route.model!r} has no label {route.label!r}"
        else:
            return
        target = config.shadow.target if config.shadow else ""
        raise InvalidArgument(f"shadow {target!r} cannot answer: {what} (see 'headrace history')")

    def keys(self, model: str, version: int | None, *, even_published: bool) -> list[bytes]:
        """Return the keys to remove in order to forget a version, or with None the whole model.

        Raises:
            UnknownVersion: the log holds nothing of the kind.
            StillPublished: a version is published, and `even_published` is not given.
        """
        taken = self.versions.get(model, {})
        if version is not None:
            taken = {version: self.version(model, version)}
        published = [n for n, v in taken.items() if v.lifecycle is Lifecycle.PUBLISHED]
        if published and not even_published:
            numbers = ", ".join(str(number) for number in sorted(published))
            raise StillPublished(
                f"model {model!r} is still published (version {numbers}): retire it first with "
                f"'headrace retire {model} {published[0]}', or forget it with --force"
            )
        keys = [version_key(model, number) for number in sorted(taken)]
        if version is None and model in self.configs:
            keys.append(config_key(model))
        if not keys:
            raise UnknownVersion(f"the control log holds nothing of model {model!r}")
        return keys

    def policy_words(self, model: str, version: int) -> str:
        """Return the model's policy in words, and the highest other published number."""
        config = self.configs.get(model)
        policy = policy_words(config.policy if config else VersionPolicy())
        others = self.published(model) - {version}
        return f"{policy}, highest other version: {max(others)}" if others else policy


def check_alone(entries: Sequence[ControlEntry], record: ModelVersion, since: int, at: int) -> None:
    """Raise VersionConflict if other bytes got the number between two offsets of the log.

    The log cannot be locked: two processes may both find a number free and both take it.
    """
    key = version_key(record.model, record.version)
    for entry in entries:
        rival = entry.record
        if not (since <= entry.offset < at and entry.key == key):
            continue
        if isinstance(rival, ModelVersion) and rival.digest != record.digest:
            raise VersionConflict(
                f"version {record.version} of {record.model!r} was published twice at the same "
                f"moment: by {rival.publisher or 'unknown'} at offset {entry.offset} and by this "
                f"publisher at offset {at}, which counts: publish the other model under a number "
                "of its own"
            )


def _short(digest: str) -> str:
    return digest[:19]
