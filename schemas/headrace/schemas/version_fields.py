"""A model version as the fields that Avro carries, and back; the others are in `fields`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from headrace.schemas.fields import items
from headrace.schemas.records import (
    Lifecycle,
    ModelVersion,
    SignatureSpec,
    TensorSpec,
    Validation,
)

Fields: TypeAlias = dict[str, Any]

_LIFECYCLES: Final = {str(member): member for member in Lifecycle}


def from_model_version(record: ModelVersion) -> Fields:
    """Return the fields of a ModelVersion."""
    return {
        "model": record.model,
        "version": record.version,
        "platform": record.platform,
        "uri": record.uri,
        "digest": record.digest,
        "size_bytes": record.size_bytes,
        "signatures": items("signatures", record.signatures),
        "lifecycle": record.lifecycle,
        "publisher": record.publisher,
        "created_at_ms": record.created_at_ms,
        "metadata": record.metadata,
        "interface": [_from_signature(signature) for signature in record.interface],
        "validation": None if record.validation is None else _from_validation(record.validation),
    }


def to_model_version(fields: Fields) -> ModelVersion:
    """Return the ModelVersion that has these fields."""
    validation = fields["validation"]
    return ModelVersion(
        model=fields["model"],
        version=fields["version"],
        platform=fields["platform"],
        uri=fields["uri"],
        digest=fields["digest"],
        size_bytes=fields["size_bytes"],
        signatures=tuple(fields["signatures"]),
        lifecycle=_LIFECYCLES[fields["lifecycle"]],
        publisher=fields["publisher"],
        created_at_ms=fields["created_at_ms"],
        metadata=dict(fields["metadata"]),
        interface=tuple(_to_signature(each) for each in fields["interface"]),
        validation=None if validation is None else _to_validation(validation),
    )


def _from_signature(record: SignatureSpec) -> Fields:
    return {
        "name": record.name,
        "inputs": [_from_spec(spec) for spec in record.inputs],
        "outputs": [_from_spec(spec) for spec in record.outputs],
    }


def _to_signature(fields: Fields) -> SignatureSpec:
    return SignatureSpec(
        name=fields["name"],
        inputs=tuple(_to_spec(each) for each in fields["inputs"]),
        outputs=tuple(_to_spec(each) for each in fields["outputs"]),
    )


def _from_spec(record: TensorSpec) -> Fields:
    shape = None if record.shape is None else list(record.shape)
    return {
        "name": record.name,
        "dtype": record.dtype,
        "shape": shape,
        "is_optional": record.is_optional,
    }


def _to_spec(fields: Fields) -> TensorSpec:
    shape = None if fields["shape"] is None else tuple(fields["shape"])
    return TensorSpec(
        name=fields["name"],
        dtype=fields["dtype"],
        shape=shape,
        is_optional=fields["is_optional"],
    )


def _from_validation(record: Validation) -> Fields:
    return {
        "examples": record.examples,
        "compared_with": record.compared_with,
        "is_compatible": record.is_compatible,
    }


def _to_validation(fields: Fields) -> Validation:
    return Validation(
        examples=fields["examples"],
        compared_with=fields["compared_with"],
        is_compatible=fields["is_compatible"],
    )
