"""Records to bytes and back: Avro in single-object encoding, no schema registry needed.

Bytes are `C3 01`, the 8-byte little-endian CRC-64-AVRO fingerprint of the writer's schema, and the
datum. Bytes of today's schema are read directly, those of another known version of the same record
by Avro's schema resolution.

How a schema may change, so that old readers read new records and new readers old ones:

- A new field has a default, and goes to the end (in InferenceRequest the route stays in front).
- A field is never renamed, removed, reordered or given another type.
- An enum symbol goes to the end. Without a default symbol, old readers refuse records that use it.
- No recursion, and no array or map of items that take no bytes.
- The replaced `.avsc` moves to `history/`, and golden bytes of it stay in the tests.

Readers must know a schema before anyone writes it: upgrade readers first, or register the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from fastavro import parse_schema

from headrace.schemas import comparison_fields, config_fields, fields, single_object, version_fields
from headrace.schemas.comparison import ShadowComparison
from headrace.schemas.errors import (
    SchemaRefused,
    TooLarge,
    Undecodable,
    Unencodable,
    UnknownFingerprint,
    WireError,
)
from headrace.schemas.records import (
    InferenceRequest,
    InferenceResponse,
    ModelConfig,
    ModelVersion,
    NodeStatus,
    Record,
)
from headrace.schemas.schema_safety import AvroJson
from headrace.schemas.writer_schemas import WriterSchema, WriterSchemas, load_current, vet

__all__ = [
    "MAX_BYTES",
    "SHIPPED",
    "SchemaRefused",
    "TooLarge",
    "Undecodable",
    "Unencodable",
    "UnknownFingerprint",
    "WireError",
    "WriterSchemas",
    "decode",
    "encode",
    "fingerprint_of",
]

R = TypeVar("R", bound=Record)

MAX_BYTES: Final = 16 * 2**20
"""What `decode` accepts unless told otherwise. A hostile record can take up to 90 times its bytes
of memory once decoded, so a reader who knows that its records are small does well to say so."""

SHIPPED: Final = WriterSchemas()
"""The schemas of the package, for readers that know no others. Make your own to register more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form(Generic[R]):
    """How one class of records is written and read.

    **Concurrency:** immutable; share it freely.
    """

    schema: WriterSchema
    reader: AvroJson
    to_fields: Callable[[R], dict[str, Any]]
    to_record: Callable[[dict[str, Any]], R]


def _form(
    record_type: type[R],
    to_fields: Callable[[R], dict[str, Any]],
    to_record: Callable[[dict[str, Any]], R],
) -> _Form[R]:
    """Bind a class to the `.avsc` file of its name."""
    current = load_current(record_type.__name__)
    return _Form(
        schema=vet(current),
        reader=parse_schema(current),
        to_fields=to_fields,
        to_record=to_record,
    )


_FORMS: Final[dict[type[object], _Form[Any]]] = {
    ModelVersion: _form(
        ModelVersion, version_fields.from_model_version, version_fields.to_model_version
    ),
    ModelConfig: _form(ModelConfig, config_fields.from_model_config, config_fields.to_model_config),
    NodeStatus: _form(NodeStatus, fields.from_node_status, fields.to_node_status),
    InferenceRequest: _form(
        InferenceRequest, fields.from_inference_request, fields.to_inference_request
    ),
    InferenceResponse: _form(
        InferenceResponse, fields.from_inference_response, fields.to_inference_response
    ),
    ShadowComparison: _form(
        ShadowComparison,
        comparison_fields.from_shadow_comparison,
        comparison_fields.to_shadow_comparison,
    ),
}


def encode(record: Record) -> bytes:
    """Return the record's bytes, written with today's schema.

    Raises:
        Unencodable: a field holds what its type cannot carry.
    """
    form = _FORMS[type(record)]
    return single_object.write(form.schema, form.to_fields(record))


def decode(
    data: bytes,
    record_type: type[R],
    *,
    max_bytes: int = MAX_BYTES,
    writers: WriterSchemas = SHIPPED,
) -> R:
    """Return the record that `data` holds. Sequences come back as tuples.

    Args:
        data: one record and nothing else.
        record_type: the class of the record.
        max_bytes: the most bytes accepted.
        writers: the schemas that the bytes may have been written with.

    Raises:
        TooLarge: there are more bytes than `max_bytes`.
        UnknownFingerprint: the writer's schema is not in `writers`.
        Undecodable: the bytes do not follow their schema to the end, hold another record, or use
            a symbol unknown here for which there is no default.
    """
    form = _FORMS[record_type]
    values = single_object.read(
        data, writers, expected=form.schema, reader=form.reader, max_bytes=max_bytes
    )
    return cast("R", form.to_record(values))


def fingerprint_of(record_type: type[Record]) -> bytes:
    """Return the 10 bytes that every record of this class written today begins with."""
    return _FORMS[record_type].schema.header
