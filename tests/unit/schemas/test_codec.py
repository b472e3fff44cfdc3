"""What the codec says of bytes that are no record, and of records that have no bytes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

import pytest

from headrace.schemas import codec
from headrace.schemas.codec import decode, encode, fingerprint_of
from headrace.schemas.errors import (
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
    Validation,
)

TYPES: Final[list[type[Record]]] = [
    ModelVersion,
    ModelConfig,
    NodeStatus,
    InferenceRequest,
    InferenceResponse,
]
VERSION: Final = ModelVersion(model="m", version=1, uri="/m/1", digest="sha256:0", size_bytes=1)


@pytest.mark.parametrize("record_type", TYPES)
@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(random.Random(7).randbytes(5_000_000), id="random"),
        pytest.param(bytes(5_000_000), id="zeros"),
        pytest.param(b"\xff" * 5_000_000, id="ones"),
    ],
)
def test_refuses_five_megabytes_of_garbage(record_type: type[Record], garbage: bytes) -> None:
    """Large garbage is refused like small, behind a right header and without one."""
    with pytest.raises(WireError):
        decode(garbage, record_type)
    with pytest.raises(WireError):
        decode(fingerprint_of(record_type) + garbage, record_type)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no bytes where headrace.ModelVersion was expected"),
        (b"\xc3", "1 bytes where headrace.ModelVersion was expected"),
        (b"\xc3\x01abc", "the header takes 10"),
        (b'{"model": "m"}', "begin with 7b 22 where c3 01 was expected"),
        (b"\x00\x00\x00\x00\x07rest", "looks like a schema registry's framing"),
        (encode(InferenceRequest(model="m")), "hold headrace.InferenceRequest where"),
        (encode(VERSION)[:40], "cut short"),
        # The length of the model's name, in zigzag: -1.
        (fingerprint_of(ModelVersion) + b"\x01", "cut short"),
        (fingerprint_of(ModelVersion) + b"\x80", "cut short: its 11 bytes"),
        (fingerprint_of(ModelVersion) + b"\x04\xff\xff" + bytes(20), "utf-8"),
        (encode(VERSION)[:-1] + b"\x08", "union branch or enum symbol"),
    ],
)
def test_says_what_is_wrong_with_the_bytes(data: bytes, text: str) -> None:
    """The text names what was found and what was expected."""
    with pytest.raises(Undecodable) as caught:
        decode(data, ModelVersion)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_the_unknown_fingerprint() -> None:
    """A writer newer than this reader is told apart from broken bytes."""
    with pytest.raises(UnknownFingerprint, match="0102030405060708"):
        decode(b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08rest", ModelVersion)


def test_refuses_more_bytes_than_the_reader_accepts() -> None:
    """The limit is the reader's, and is checked before anything is decoded."""
    data = encode(replace(VERSION, uri="x" * 1000))
    assert decode(data, ModelVersion, max_bytes=len(data)).uri == "x" * 1000
    with pytest.raises(TooLarge, match=f"{len(data)} bytes; at most {len(data) - 1}"):
        decode(data, ModelVersion, max_bytes=len(data) - 1)
    with pytest.raises(TooLarge):
        decode(bytes(codec.MAX_BYTES + 1), ModelVersion)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": 2**63}, "too"),
        ({"version": None}, "version"),
        ({"model": "\ud800"}, "surrogates"),
        ({"model": b"bytes"}, "model"),
        ({"signatures": "serving_default"}, "signatures is one str; expected a sequence"),
        ({"validation": Validation(examples=2**63)}, "examples"),
        ({"metadata": {"key": 3}}, "metadata"),
        ({"lifecycle": "ABSENT"}, "ABSENT"),
    ],
)
def test_refuses_values_that_the_schema_cannot_carry(changes: dict[str, Any], text: str) -> None:
    """A wrong value is refused when it is written, and the text tells where or why."""
    with pytest.raises(Unencodable, match=text):
        encode(replace(VERSION, **changes))
