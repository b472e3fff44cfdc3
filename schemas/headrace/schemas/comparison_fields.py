"""A shadow comparison as the fields that Avro carries, and back; the others are in `fields`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison

Fields: TypeAlias = dict[str, Any]

_AGREEMENTS: Final = {str(member): member for member in Agreement}


def from_shadow_comparison(record: ShadowComparison) -> Fields:
    """Return the fields of a ShadowComparison."""
    return {
        "model": record.model,
        "node": record.node,
        "at_ms": record.at_ms,
        "primary": _from_answered(record.primary),
        "shadow": _from_answered(record.shadow),
        "agreement": record.agreement,
        "differences": [_from_difference(each) for each in record.differences],
        "missed": record.missed,
    }


def to_shadow_comparison(fields: Fields) -> ShadowComparison:
    """Return the ShadowComparison that has these fields."""
    return ShadowComparison(
        model=fields["model"],
        node=fields["node"],
        at_ms=fields["at_ms"],
        primary=_to_answered(fields["primary"]),
        shadow=_to_answered(fields["shadow"]),
        agreement=_AGREEMENTS[fields["agreement"]],
        differences=tuple(_to_difference(each) for each in fields["differences"]),
        missed=fields["missed"],
    )


def _from_answered(record: Answered) -> Fields:
    return {
        "model": record.model,
        "version": record.version,
        "control_offset": record.control_offset,
        "digest": record.digest,
        "arm": record.arm,
        "latency_micros": record.latency_micros,
        "error_code": record.error_code,
        "error": record.error,
    }


def _to_answered(fields: Fields) -> Answered:
    return Answered(
        model=fields["model"],
        version=fields["version"],
        control_offset=fields["control_offset"],
        digest=fields["digest"],
        arm=fields["arm"],
        latency_micros=fields["latency_micros"],
        error_code=fields["error_code"],
        error=fields["error"],
    )


def _from_difference(record: Difference) -> Fields:
    return {
        "output": record.output,
        "elements": record.elements,
        "differing": record.differing,
        "max_absolute": record.max_absolute,
        "reason": record.reason,
    }


def _to_difference(fields: Fields) -> Difference:
    return Difference(
        output=fields["output"],
        elements=fields["elements"],
        differing=fields["differing"],
        max_absolute=fields["max_absolute"],
        reason=fields["reason"],
    )
