"""The schemas that bytes may have been written with, found by fingerprint and vetted on entry.

A reader needs the writer's schema, and never takes it from the message: it looks up the
fingerprint in a `WriterSchemas`. That holds today's six schemas, every earlier one that the
package keeps under `history/`, and what a program registers besides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from fastavro import parse_schema
from fastavro.schema import fingerprint, to_parsing_canonical_form

from headrace.schemas.errors import SchemaRefused, UnknownFingerprint
from headrace.schemas.schema_safety import AvroJson, check_is_safe

MARKER: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10
NAMES: Final = (
    "ModelVersion",
    "ModelConfig",
    "NodeStatus",
    "InferenceRequest",
    "InferenceResponse",
    "ShadowComparison",
)

_PACKAGE: Final = files("headrace.schemas")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSchema:
    """One vetted schema in canonical form.

    `header` is what its records begin with: the marker C3 01 and the little-endian CRC-64-AVRO
    fingerprint. Canonical form drops defaults, aliases, documentation and logical types: reading
    the writer's bytes needs none of them, and a logical type would change what fields hold.

    **Concurrency:** immutable; share it freely.
    Source: Avro specification 1.12, "Single-object encoding" and "Parsing Canonical Form".
    """

    name: str
    header: bytes
    parsed: AvroJson

    @property
    def fingerprint(self) -> str:
        """The fingerprint as it stands in the header, in hexadecimal."""
        return self.header[len(MARKER) :].hex()


def vet(schema: str | bytes | AvroJson) -> WriterSchema:
    """Return the schema ready for reading with it.

    Args:
        schema: the schema as JSON text, or as the value that such text stands for.

    Raises:
        SchemaRefused: it is not an Avro record schema, or reading with it could exhaust memory.
    """
    try:
        value: AvroJson = json.loads(schema) if isinstance(schema, str | bytes) else schema
        canonical = to_parsing_canonical_form(value)
        plain: AvroJson = json.loads(canonical)
        is_faithful = to_parsing_canonical_form(plain) == canonical
    except Exception as error:  # door: fastavro answers bad schemas with any exception
        detail = str(error)[:200] or type(error).__name__
        raise SchemaRefused(f"not an Avro schema: {detail}") from error
    if not is_faithful:
        # Quotes in a name, or a type without namespace inside one that has one.
        raise SchemaRefused("the schema uses names that its canonical form cannot carry")
    if not isinstance(plain, dict) or plain["type"] != "record":
        raise SchemaRefused("the schema describes no record: expected one with type 'record'")
    name: str = plain["name"]
    check_is_safe(plain)
    crc = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
    return WriterSchema(name=name, header=MARKER + crc, parsed=parse_schema(plain))


def load_current(name: str) -> dict[str, Any]:
    """Return today's schema of one record, with defaults and docs, as its `.avsc` file has it."""
    loaded: dict[str, Any] = json.loads((_PACKAGE / f"{name}.avsc").read_bytes())
    return loaded


def shipped(package: Traversable = _PACKAGE) -> Iterator[WriterSchema]:
    """Yield the schemas that the package has: today's, then those that were today's once."""
    for name in NAMES:
        yield vet((package / f"{name}.avsc").read_bytes())
    history = package / "history"
    if history.is_dir():
        for entry in sorted(history.iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith(".avsc"):
                yield vet(entry.read_bytes())


_SHIPPED: Final = tuple(shipped())


class WriterSchemas:
    """Finds the writer's schema of a record by the header of its bytes.

    **Concurrency:** lookups may run in any thread; register before sharing it.
    """

    def __init__(self) -> None:
        """Start from the schemas that the package ships, today's and earlier ones."""
        self._by_header: dict[bytes, WriterSchema] = {schema.header: schema for schema in _SHIPPED}

    def register(self, schema: str | bytes | AvroJson) -> bytes:
        """Accept records written with `schema` from now on, and return the header they begin with.

        Registering a schema twice is the same as once.

        Raises:
            SchemaRefused: it is not an Avro record schema, or reading with it could exhaust memory.
        """
        vetted = vet(schema)
        self._by_header[vetted.header] = vetted
        return vetted.header

    def find(self, header: bytes) -> WriterSchema:
        """Return the schema whose records begin with `header`.

        Raises:
            UnknownFingerprint: none is registered.
        """
        schema = self._by_header.get(header)
        if schema is None:
            raise UnknownFingerprint(
                f"written with the unknown schema {header[len(MARKER) :].hex()}; "
                f"{len(self._by_header)} schemas are known here: upgrade this reader, or register "
                "the writer's schema with it"
            )
        return schema
