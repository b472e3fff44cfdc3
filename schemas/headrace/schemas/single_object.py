"""Avro's single-object encoding: a header that names the writer's schema, then the datum.

The only file that lets fastavro touch bytes. Whatever fastavro raises is translated here. What the
fields mean is the business of `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final, cast

# fastavro's stubs leave the parameter of `IO` open.
from fastavro import (
    schemaless_reader,  # pyright: ignore[reportUnknownVariableType]
    schemaless_writer,  # pyright: ignore[reportUnknownVariableType]
)
from fastavro.read import SchemaResolutionError

from headrace.schemas.errors import TooLarge, Undecodable, Unencodable, WireError
from headrace.schemas.schema_safety import AvroJson
from headrace.schemas.writer_schemas import (
    HEADER_BYTES,
    MARKER,
    WriterSchema,
    WriterSchemas,
)

_MAX_DETAIL: Final = 200


def write(schema: WriterSchema, datum: Mapping[str, Any]) -> bytes:
    """Return the header of `schema` and the datum after it.

    Raises:
        Unencodable: a field holds what its type cannot carry.
    """
    out = BytesIO()
    out.write(schema.header)
    try:
        schemaless_writer(out, schema.parsed, datum)
    except Exception as error:  # door: fastavro answers bad values with any exception
        raise Unencodable(f"{schema.name} cannot be encoded: {_in_words(error)}") from error
    return out.getvalue()


def read(
    data: bytes,
    writers: WriterSchemas,
    *,
    expected: WriterSchema,
    reader: AvroJson,
    max_bytes: int,
) -> dict[str, Any]:
    """Return the fields that `data` holds, as the reader's schema has them.

    Args:
        data: header and datum, and nothing after it.
        writers: where the writer's schema is looked up.
        expected: the reader's schema as a writer would use it.
        reader: the reader's schema with its defaults.
        max_bytes: the most bytes accepted.

    Raises:
        TooLarge: there are more bytes than `max_bytes`.
        UnknownFingerprint: the header names a schema that `writers` does not have.
        Undecodable: there is no such header, or the bytes do not follow their schema to the end.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"{expected.name} of {len(data)} bytes; at most {max_bytes} are accepted")
    header = data[:HEADER_BYTES]
    if header == expected.header:
        return _read_datum(data, expected, None)
    _check_header(header, expected.name)
    writer = writers.find(header)
    if writer.name != expected.name:
        raise Undecodable(f"the bytes hold {writer.name} where {expected.name} was expected")
    # fastavro does not check what it skips, so a record that was cut in a field unknown to us
    # would pass: read it whole in the writer's terms first.
    _read_datum(data, writer, None)
    return _read_datum(data, writer, reader)


def _check_header(header: bytes, name: str) -> None:
    """Raise unless `header` can be one."""
    if not header:
        raise Undecodable(f"no bytes where {name} was expected")
    if header[:2] != MARKER[: len(header[:2])]:
        hint = " (it looks like a schema registry's framing)" if header[0] == 0 else ""
        raise Undecodable(
            f"the bytes begin with {header[:2].hex(' ')}{hint} where c3 01 was expected: "
            f"{name} in Avro's single-object encoding"
        )
    if len(header) < HEADER_BYTES:
        raise Undecodable(f"{len(header)} bytes where {name} was expected: the header takes 10")


def _read_datum(data: bytes, writer: WriterSchema, reader: AvroJson | None) -> dict[str, Any]:
    """Let fastavro read all bytes after the header."""
    stream = BytesIO(data)
    stream.seek(HEADER_BYTES)
    try:
        fields = cast("dict[str, Any]", schemaless_reader(stream, writer.parsed, reader))
    except Exception as error:  # door: fastavro answers bad bytes with any exception
        raise _undecodable(error, writer, stream.tell(), data) from error
    if stream.tell() != len(data):
        raise Undecodable(
            f"{writer.name} ends at byte {stream.tell()}, but there are {len(data)} bytes"
        )
    return fields


def _undecodable(error: Exception, writer: WriterSchema, at: int, data: bytes) -> WireError:
    """Say what fastavro met before byte `at`."""
    size = len(data)
    # An IndexError is a wrong choice, or a number whose last byte promises another one.
    is_cut_number = isinstance(error, IndexError) and at >= size and data[-1] & 0x80
    if isinstance(error, EOFError) or is_cut_number:
        return Undecodable(f"{writer.name} is cut short: its {size} bytes end inside a field")
    if isinstance(error, IndexError):
        return Undecodable(
            f"{writer.name} names a union branch or enum symbol that its schema "
            f"{writer.fingerprint} does not have, before byte {at} of {size}"
        )
    if isinstance(error, SchemaResolutionError):
        return Undecodable(
            f"{writer.name}, written with schema {writer.fingerprint}, does not fit the one "
            f"here: {_in_words(error)}"
        )
    return Undecodable(f"{writer.name}, before byte {at} of {size}: {_in_words(error)}")


def _in_words(error: Exception) -> str:
    """Return the library's own words, short and on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _MAX_DETAIL else f"{words[:_MAX_DETAIL]}…"
