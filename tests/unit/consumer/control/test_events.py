"""Which records of the control topic are events, and what is said of the others."""

import pytest

from headrace.consumer.control.events import MAX_RECORD_BYTES, read_event
from headrace.schemas.codec import encode
from headrace.schemas.errors import WireError
from headrace.schemas.records import (
    InferenceRequest,
    ModelConfig,
    ModelVersion,
    Record,
    config_key,
    version_key,
)


def version(model: str = "ranker", number: int = 7) -> ModelVersion:
    return ModelVersion(
        model=model, version=number, uri="file:///m", digest="sha256:0", size_bytes=1
    )


def test_reads_a_version_under_its_key() -> None:
    """A version record under its own key is an event with its offset."""
    event = read_event(41, version_key("ranker", 7), encode(version()))
    assert (event.offset, event.key, event.record) == (41, b"version/ranker/7", version())


def test_reads_a_configuration_under_its_key() -> None:
    """A configuration under its own key is an event."""
    config = ModelConfig(model="ranker", labels={"stable": 3})
    assert read_event(0, config_key("ranker"), encode(config)).record == config


@pytest.mark.parametrize("key", [b"version/ranker/7", b"model/ranker"])
def test_reads_tombstones(key: bytes) -> None:
    """A record without a value forgets its key."""
    assert read_event(3, key, None) == (3, key, None)


@pytest.mark.parametrize(
    ("key", "record", "words"),
    [
        (None, version(), "no key"),
        (b"version/ranker/8", version(), "'version/ranker/8' and the value belongs to"),
        (b"version/ranker/07", version(), "'version/ranker/07'"),
        (b"model/ranker", version(), "ModelConfig"),
        (b"version/ranker/7", ModelConfig(model="ranker"), "ModelVersion"),
        (b"model/other", ModelConfig(model="ranker"), "belongs to 'model/ranker'"),
        (b"version/ranker/0", version(number=0), "version 0 is not allowed"),
        (b"version/ranker/-1", version(number=-1), "version -1 is not allowed"),
        (b"version/a/b/7", version(model="a/b"), "model name 'a/b' is not allowed"),
        (b"model/", ModelConfig(model=""), "model name '' is not allowed"),
        (b"ranker", version(), "neither version/"),
        (b"\xff\xfe", version(), "neither version/"),
        (b"request/ranker", InferenceRequest(model="ranker"), "neither version/"),
    ],
)
def test_refuses_records_whose_key_and_value_disagree(
    key: bytes | None, record: Record, words: str
) -> None:
    """Neither the key nor the value alone decides what a record is about."""
    with pytest.raises(WireError, match=words):
        read_event(0, key, encode(record))


@pytest.mark.parametrize(
    "value",
    [b"", b"garbage", b"\xc3\x01" + b"\x00" * 8, encode(version())[:-1], b"\xc3" * (5 * 2**20)],
)
def test_refuses_bytes_that_are_no_record(value: bytes) -> None:
    """Whatever the bytes are, the error is one that the log can skip."""
    with pytest.raises(WireError):
        read_event(0, b"version/ranker/7", value)


@pytest.mark.parametrize("key", [b"", b"version/ranker", b"version/ranker/0", b"model/a/b", b"x"])
def test_refuses_tombstones_of_keys_that_cannot_be(key: bytes) -> None:
    """A tombstone for something that is no key is reported, not folded."""
    with pytest.raises(WireError, match="neither version/"):
        read_event(0, key, None)


def test_bounds_a_record() -> None:
    """A record larger than any honest one is refused before it is decoded."""
    huge = ModelVersion(
        model="ranker",
        version=7,
        uri="x" * MAX_RECORD_BYTES,
        digest="sha256:0",
        size_bytes=1,
    )
    with pytest.raises(WireError):
        read_event(0, b"version/ranker/7", encode(huge))
