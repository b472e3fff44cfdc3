"""Changes to a model's configuration, and the check that the result makes sense."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, TypeVar

from headrace.publisher.errors import InvalidArgument
from headrace.publisher.shadows import changed, check_shadow
from headrace.schemas.arms import route_of_arm
from headrace.schemas.cohorts import BUCKETS
from headrace.schemas.records import (
    Batching,
    LargeRequests,
    ModelConfig,
    PolicyKind,
    Preserving,
    Tolerance,
    VersionPolicy,
    check_model_name,
    check_version,
)

LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,127}")
_MAX_WEIGHT: Final = 2**31 - 1
_MAX_REPLICAS: Final = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """What to change of a model's configuration; None leaves a field as it is.

    `labels` are added or moved, `unlabel` are removed. `split` replaces the whole split; an empty
    one ends it; so does an empty `allowed_batch_rows` with the sizes that a batch may have.
    `batching` replaces all rules of batching, before those that are named one by one.
    `shadow_target` begins, turns or, when empty, ends the mirroring of requests;
    `shadow_tolerances` replaces all tolerances.
    """

    model: str
    policy: VersionPolicy | None = None
    preserving: Preserving | None = None
    labels: Mapping[str, int] = field(default_factory=dict[str, int])
    unlabel: Sequence[str] = ()
    split: Mapping[str, int] | None = None
    batching: Batching | None = None
    max_batch_rows: int | None = None
    batch_timeout_micros: int | None = None
    allowed_batch_rows: Sequence[int] | None = None
    pads_variable_length: bool | None = None
    large_requests: LargeRequests | None = None
    replicas: int | None = None
    shadow_target: str | None = None
    shadow_fraction: float | None = None
    shadow_tolerances: Mapping[str, Tolerance] | None = None

    def apply(self, config: ModelConfig) -> ModelConfig:
        """Return `config` with this change.

        Raises:
            InvalidArgument: a label to remove is not there, or the shadow to change.
        """
        unknown = [label for label in self.unlabel if label not in config.labels]
        if unknown:
            raise InvalidArgument(
                f"model {self.model!r} has no label {', '.join(unknown)}: its labels are "
                f"{', '.join(sorted(config.labels)) or 'none'}"
            )
        labels = {name: v for name, v in config.labels.items() if name not in self.unlabel}
        batching = _or(self.batching, config.batching)
        batching = replace(
            batching,
            max_rows=_or(self.max_batch_rows, batching.max_rows),
            timeout_micros=_or(self.batch_timeout_micros, batching.timeout_micros),
            allowed_rows=tuple(_or(self.allowed_batch_rows, batching.allowed_rows)),
            pads_variable_length=_or(self.pads_variable_length, batching.pads_variable_length),
            large_requests=_or(self.large_requests, batching.large_requests),
        )
        return replace(
            config,
            policy=self.policy or config.policy,
            preserving=self.preserving or config.preserving,
            labels=labels | dict(self.labels),
            split=config.split if self.split is None else dict(self.split),
            batching=batching,
            replicas=_or(self.replicas, config.replicas),
            shadow=changed(
                config, self.shadow_target, self.shadow_fraction, self.shadow_tolerances
            ),
        )


def check(config: ModelConfig) -> None:
    """Raise InvalidArgument, in words, unless the configuration makes sense by itself."""
    check_name(config.model)
    _check_policy(config.policy)
    for label, version in config.labels.items():
        if LABEL.fullmatch(label) is None:
            raise InvalidArgument(
                f"label {label!r} is not allowed: use 1 to 128 letters, digits, '.', '_' or '-', "
                "beginning with a letter or '_' (a number would read as a version)"
            )
        check_number(version, f"label {label!r}: ")
    _check_split(config)
    check_shadow(config)
    _check_batching(config.batching)
    if not 1 <= config.replicas <= _MAX_REPLICAS:
        raise InvalidArgument(
            f"replicas {config.replicas} is not allowed: use 1 to {_MAX_REPLICAS} processes"
        )


def check_name(model: str) -> None:
    """Raise InvalidArgument unless `model` can be a model's name."""
    try:
        check_model_name(model)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def check_number(version: int, prefix: str = "") -> None:
    """Raise InvalidArgument unless `version` can be a version number."""
    try:
        check_version(version)
    except ValueError as error:
        raise InvalidArgument(f"{prefix}{error}") from error


def policy_words(policy: VersionPolicy) -> str:
    """Return a version policy as one writes it on the command line."""
    if policy.kind is PolicyKind.LATEST:
        return f"latest:{policy.latest}"
    if policy.kind is PolicyKind.SPECIFIC:
        return f"specific:{','.join(str(version) for version in policy.versions)}"
    return "all"


def _check_policy(policy: VersionPolicy) -> None:
    if policy.kind is PolicyKind.LATEST and policy.latest < 1:
        raise InvalidArgument(f"policy latest:{policy.latest} is not allowed: use latest:1 or more")
    if policy.kind is PolicyKind.SPECIFIC:
        if not policy.versions:
            raise InvalidArgument("policy specific names no version: use specific:3,5")
        for version in policy.versions:
            check_number(version, "policy: ")


def _check_split(config: ModelConfig) -> None:
    total = sum(config.split.values())
    for arm, weight in config.split.items():
        try:
            route_of_arm(arm, config.model, config.labels)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        if not 0 <= weight <= _MAX_WEIGHT:
            raise InvalidArgument(
                f"split weight {weight} of {arm!r} is not allowed: use 0 to {_MAX_WEIGHT}"
            )
    if config.split and total == 0:
        raise InvalidArgument("the split's weights add up to 0: give one arm a weight above 0")
    for arm, weight in config.split.items():
        if 0 < weight * BUCKETS < total:
            raise InvalidArgument(
                f"split weight {weight} of {arm!r} is less than 1 in {BUCKETS} of all weights "
                f"({total}): give it 0, or a larger share"
            )


def _check_batching(batching: Batching) -> None:
    if batching.max_rows < 1:
        raise InvalidArgument(f"max batch rows {batching.max_rows} is not allowed: use 1 or more")
    if batching.timeout_micros < 0:
        raise InvalidArgument(
            f"batch timeout {batching.timeout_micros} is not allowed: use 0 or more microseconds"
        )
    allowed = batching.allowed_rows
    if not allowed:
        return
    words = ",".join(map(str, allowed))
    if allowed[0] < 1 or any(more <= less for less, more in pairwise(allowed)):
        raise InvalidArgument(
            f"allowed batch rows {words} are not allowed: use numbers from 1 on, each larger "
            "than the one before"
        )
    if allowed[-1] != batching.max_rows:
        raise InvalidArgument(
            f"allowed batch rows {words} end with {allowed[-1]}, and max batch rows are "
            f"{batching.max_rows}: make them the same"
        )


def _or(change: T | None, value: T) -> T:
    return value if change is None else change
