"""Bytes and schemas agree with the Avro specification and with the dataclasses."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

import pytest

from headrace.schemas.codec import encode, fingerprint_of
from headrace.schemas.records import (
    InferenceRequest,
    InferenceResponse,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    NodeStatus,
    PolicyKind,
    Preserving,
    Record,
    ServableState,
    Tensor,
)
from headrace.schemas.schema_safety import AvroJson
from headrace.schemas.writer_schemas import HEADER_BYTES, load_current

TYPES: Final[list[type[Record]]] = [
    ModelVersion,
    ModelConfig,
    NodeStatus,
    InferenceRequest,
    InferenceResponse,
]


@pytest.mark.parametrize("record_type", TYPES)
def test_header_is_marker_and_fingerprint_of_the_canonical_form(record_type: type[Record]) -> None:
    """The header agrees with the specification's own algorithm, written out here once more."""
    table = [_crc_64_avro_of_byte(byte) for byte in range(256)]
    crc = 0xC15D213AA4D7A795
    for byte in _canonical(load_current(record_type.__name__), "").encode():
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    assert fingerprint_of(record_type) == b"\xc3\x01" + crc.to_bytes(8, "little")


def test_datum_follows_the_specification() -> None:
    """A small request has exactly the bytes that the Avro specification gives it by hand."""
    request = InferenceRequest(
        model="ranker",
        version=64,
        label="a",
        signature="s",
        inputs=(Tensor(name="x", dtype="int8", shape=(2,), data=b"\x01\x02"),),
    )
    by_hand = (
        b"\x0cranker"  # length 6 in zigzag
        b"\x02\x80\x01"  # branch 1 of the union; 64 is 128 in zigzag, in two groups of 7 bits
        b"\x02\x02a"
        b"\x02s"
        b"\x00"  # no output filter: the end of the array
        b"\x02"  # one block of one tensor
        b"\x02x\x08int8\x02\x04\x00\x04\x01\x02\x00"
        b"\x00"
    )
    assert encode(request)[HEADER_BYTES:] == by_hand


@pytest.mark.parametrize("record_type", TYPES)
def test_schema_mirrors_the_dataclass(record_type: type[Record]) -> None:
    """The `.avsc` file has the fields of the dataclass, in its order."""
    schema = load_current(record_type.__name__)
    assert schema["name"] == record_type.__name__
    assert schema["namespace"] == "headrace"
    assert [each["name"] for each in schema["fields"]] == [
        each.name for each in fields(record_type)
    ]


def test_schema_symbols_are_the_enum_members() -> None:
    """Every symbol of a schema has its member, so that decoding never meets an unknown one."""
    version, config, status = map(load_current, ("ModelVersion", "ModelConfig", "NodeStatus"))
    by_name = {
        "Lifecycle": version["fields"][7]["type"],
        "PolicyKind": config["fields"][1]["type"]["fields"][0]["type"],
        "Preserving": config["fields"][2]["type"],
        "ServableState": status["fields"][9]["type"][1]["fields"][2]["type"],
    }
    for enum in (Lifecycle, PolicyKind, Preserving, ServableState):
        assert by_name[enum.__name__]["name"] == enum.__name__
        assert by_name[enum.__name__]["symbols"] == [member.value for member in enum]


def _crc_64_avro_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0xC15D213AA4D7A795 if byte & 1 else 0)
    return byte


def _canonical(schema: AvroJson, namespace: str) -> str:
    """Return the parsing canonical form of schemas that name no type twice."""
    if isinstance(schema, str):
        return f'"{schema}"'
    if isinstance(schema, list):
        return f"[{','.join(_canonical(branch, namespace) for branch in schema)}]"
    kind = schema["type"]
    namespace = schema.get("namespace", namespace)
    if kind == "array":
        return f'{{"type":"array","items":{_canonical(schema["items"], namespace)}}}'
    if kind == "map":
        return f'{{"type":"map","values":{_canonical(schema["values"], namespace)}}}'
    name = f'"name":"{namespace}.{schema["name"]}","type":"{kind}"'
    if kind == "enum":
        symbols = ",".join(f'"{symbol}"' for symbol in schema["symbols"])
        return f'{{{name},"symbols":[{symbols}]}}'
    members = ",".join(
        f'{{"name":"{each["name"]}","type":{_canonical(each["type"], namespace)}}}'
        for each in schema["fields"]
    )
    return f'{{{name},"fields":[{members}]}}'
