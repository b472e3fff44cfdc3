"""A model's configuration as the fields that Avro carries, and back; the others are in `fields`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from headrace.schemas.records import (
    Batching,
    LargeRequests,
    ModelConfig,
    PolicyKind,
    Preserving,
    VersionPolicy,
)

Fields: TypeAlias = dict[str, Any]

_POLICY_KINDS: Final = {str(member): member for member in PolicyKind}
_LARGE_REQUESTS: Final = {str(member): member for member in LargeRequests}
_PRESERVINGS: Final = {str(member): member for member in Preserving}


def from_model_config(record: ModelConfig) -> Fields:
    """Return the fields of a ModelConfig."""
    policy = record.policy
    return {
        "model": record.model,
        "policy": {"kind": policy.kind, "latest": policy.latest, "versions": list(policy.versions)},
        "preserving": record.preserving,
        "labels": record.labels,
        "split": record.split,
        "batching": _from_batching(record.batching),
        "replicas": record.replicas,
    }


def to_model_config(fields: Fields) -> ModelConfig:
    """Return the ModelConfig that has these fields."""
    policy = fields["policy"]
    return ModelConfig(
        model=fields["model"],
        policy=VersionPolicy(
            kind=_POLICY_KINDS[policy["kind"]],
            latest=policy["latest"],
            versions=tuple(policy["versions"]),
        ),
        preserving=_PRESERVINGS[fields["preserving"]],
        labels=dict(fields["labels"]),
        split=dict(fields["split"]),
        batching=_to_batching(fields["batching"]),
        replicas=fields["replicas"],
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
