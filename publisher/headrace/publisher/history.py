"""The control log as it was written: every record that compaction has left, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.publisher.clients import Message, timed
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.gate import Gate
from headrace.publisher.tail import tail
from headrace.schemas import codec
from headrace.schemas.errors import EventRefused, Undecodable, WireError
from headrace.schemas.records import ModelConfig, ModelVersion
from headrace.schemas.topics import Topics

ControlRecord = ModelVersion | ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEntry:
    """One record of the control log.

    `record` is None for a tombstone, an EventRefused for what must not be believed, and another
    WireError for what could not be read. `generation` and `signed_by` are what its signature says;
    without trusted keys nobody has checked it.
    """

    offset: int
    timestamp_ms: int
    key: bytes
    record: ControlRecord | WireError | None
    generation: int = 0
    signed_by: str = ""


def decode_control(key: bytes, value: bytes | None) -> ControlRecord | WireError | None:
    """Return the record under a control key; what cannot be read comes back as its error."""
    if value is None:
        return None
    try:
        if key.startswith(b"version/"):
            return codec.decode(value, ModelVersion)
        if key.startswith(b"model/"):
            return codec.decode(value, ModelConfig)
    except WireError as error:
        return error
    return Undecodable(f"key {key[:80]!r} is neither version/<model>/<version> nor model/<model>")


async def read_control(
    connection: KafkaConnection, topics: Topics, gate: Gate | None = None
) -> list[ControlEntry]:
    """Return the whole control log; what the gate does not admit comes back as its error.

    Raises:
        BrokerUnreachable: no broker answered, or it stopped answering.
        TopicMismatch: the control topic does not exist.
    """
    gate = gate or Gate()
    async with tail(connection, topics.control) as reader:
        return [_entry(message, gate) async for message in reader.to_end()]


def _entry(message: Message, gate: Gate) -> ControlEntry:
    key, generation, signed_by = message.key or b"", 0, ""
    try:
        found = gate.admit(timed(message))
        if found:
            seal, signer = found
            generation, signed_by = seal.generation, str(signer or seal.key_id)
        record = decode_control(key, message.value)
    except EventRefused as error:
        record = error
    return ControlEntry(
        offset=message.offset,
        timestamp_ms=message.timestamp,
        key=key,
        record=record,
        generation=generation,
        signed_by=signed_by,
    )


def latest(entries: Sequence[ControlEntry]) -> dict[bytes, ControlEntry]:
    """Return the last readable record of each key.

    As in a node's fold, a record that cannot be read or believed is skipped and changes nothing; a
    tombstone forgets its key.
    """
    found: dict[bytes, ControlEntry] = {}
    for entry in entries:
        if isinstance(entry.record, WireError):
            continue
        if entry.record is None:
            found.pop(entry.key, None)
        else:
            found[entry.key] = entry
    return found
