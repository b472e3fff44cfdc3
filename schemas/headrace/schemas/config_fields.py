"""A model's configuration as the fields that Avro carries, and back; the others are in `fields`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from headrace.schemas.records import (
    Batching,
    Cohort,
    Earlier,
    LargeRequests,
    ModelConfig,
    PolicyKind,
    Preserving,
    Shadow,
    Tolerance,
    VersionPolicy,
)

Fields: TypeAlias = dict[str, Any]

_POLICY_KINDS: Final = {str(member): member for member in PolicyKind}
_LARGE_REQUESTS: Final = {str(member): member for member in LargeRequests}
_PRESERVINGS: Final = {str(member): member for member in Preserving}


def from_model_config(record: ModelConfig) -> Fields:
    """Return the fields of a ModelConfig."""
    return {
        "model": record.model,
        "policy": _from_policy(record.policy),
        "preserving": record.preserving,
        "labels": record.labels,
        "split": record.split,
        "batching": _from_batching(record.batching),
        "replicas": record.replicas,
        "cohorts": [_from_cohort(cohort) for cohort in record.cohorts],
        "shadow": None if record.shadow is None else _from_shadow(record.shadow),
        "previous": [_from_earlier(earlier) for earlier in record.previous],
    }


def to_model_config(fields: Fields) -> ModelConfig:
    """Return the ModelConfig that has these fields."""
    shadow = fields["shadow"]
    return ModelConfig(
        model=fields["model"],
        policy=_to_policy(fields["policy"]),
        preserving=_PRESERVINGS[fields["preserving"]],
        labels=dict(fields["labels"]),
        split=dict(fields["split"]),
        batching=_to_batching(fields["batching"]),
        replicas=fields["replicas"],
        cohorts=_to_cohorts(fields["cohorts"]),
        shadow=None if shadow is None else _to_shadow(shadow),
        previous=tuple(_to_earlier(earlier) for earlier in fields["previous"]),
    )


def _from_policy(record: VersionPolicy) -> Fields:
    return {"kind": record.kind, "latest": record.latest, "versions": list(record.versions)}


def _to_policy(fields: Fields) -> VersionPolicy:
    return VersionPolicy(
        kind=_POLICY_KINDS[fields["kind"]],
        latest=fields["latest"],
        versions=tuple(fields["versions"]),
    )


def _from_cohort(record: Cohort) -> Fields:
    return {"arm": record.arm, "buckets": record.buckets}


def _to_cohorts(fields: list[Fields]) -> tuple[Cohort, ...]:
    return tuple(Cohort(arm=each["arm"], buckets=each["buckets"]) for each in fields)


def _from_shadow(record: Shadow) -> Fields:
    return {
        "target": record.target,
        "fraction": record.fraction,
        "tolerances": {
            output: {"absolute": each.absolute, "relative": each.relative}
            for output, each in record.tolerances.items()
        },
    }


def _to_shadow(fields: Fields) -> Shadow:
    return Shadow(
        target=fields["target"],
        fraction=fields["fraction"],
        tolerances={
            output: Tolerance(absolute=each["absolute"], relative=each["relative"])
            for output, each in fields["tolerances"].items()
        },
    )


def _from_earlier(record: Earlier) -> Fields:
    return {
        "versions": list(record.versions),
        "policy": _from_policy(record.policy),
        "labels": record.labels,
        "split": record.split,
        "cohorts": [_from_cohort(cohort) for cohort in record.cohorts],
    }


def _to_earlier(fields: Fields) -> Earlier:
    return Earlier(
        versions=tuple(fields["versions"]),
        policy=_to_policy(fields["policy"]),
        labels=dict(fields["labels"]),
        split=dict(fields["split"]),
        cohorts=_to_cohorts(fields["cohorts"]),
    )


def _from_batching(record: Batching) -> Fields:
    return {
        "max_rows": record.max_rows,
        "timeout_micros": record.timeout_micros,
        "allowed_rows": list(record.allowed_rows),
        "pads_variable_length": record.pads_variable_length,
        "large_requests": record.large_requests,
    }


def _to_batching(fields: Fields) -> Batching:
    return Batching(
        max_rows=fields["max_rows"],
        timeout_micros=fields["timeout_micros"],
        allowed_rows=tuple(fields["allowed_rows"]),
        pads_variable_length=fields["pads_variable_length"],
        large_requests=_LARGE_REQUESTS[fields["large_requests"]],
    )
