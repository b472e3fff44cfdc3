"""What a record of the dead-letter topic says, and which letters a filter wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from headrace.consumer.stream.letters import cut_to_fit, dead_letter
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.letters import (
    LetterFilter,
    LetterId,
    Origin,
    mark_headers,
    read_letter,
    read_mark,
)
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest


@dataclass(frozen=True)
class Record:
    """A record as a consumer hands it out."""

    value: bytes | None = b"bad"
    headers: Sequence[tuple[str, bytes]] = ()
    key: bytes | None = b"k"
    offset: int = 12
    topic: str = "requests"
    partition: int = 3
    timestamp: int = 1000


def as_read(request: Record, reason: str = "no good", max_bytes: int = 10**6) -> Record:
    """Return the letter that a node writes of a request, as it is read from offset 7."""
    letter = cut_to_fit(dead_letter("letters", 0, request, reason), max_bytes)
    return Record(letter.value, letter.headers, letter.key, 7, "letters", 0)


def test_reads_what_the_node_writes() -> None:
    """Origin and reason are told apart from the headers that the request had."""
    letter = read_letter(as_read(Record(headers=[("x", b"y")])))
    assert letter.entry.id == LetterId(0, 7)
    assert letter.entry.origin == Origin("requests", 3, 12)
    assert (letter.entry.reason, letter.entry.key, letter.value) == ("no good", b"k", b"bad")
    assert letter.headers == [("x", b"y")]
    assert (letter.entry.size_bytes, letter.entry.truncated_bytes) == (4, 0)


def test_a_request_cannot_forge_what_the_node_says() -> None:
    """Headers of the same names that the request brought stay the request's."""
    forged = [
        ("origin-topic", b"elsewhere"),
        ("reason", b"none"),
        ("truncated-bytes", b"9"),
        ("replayed", b"1"),
    ]
    record = as_read(Record(headers=forged))
    letter = read_letter(record)
    assert letter.entry.origin == Origin("requests", 3, 12)
    assert (letter.entry.reason, letter.entry.truncated_bytes) == ("no good", 0)
    assert letter.headers == forged
    assert read_mark(record) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin-topic", b"t"), ("origin-partition", b"x"), ("origin-offset", b"1")],
        [("origin-topic", b"t"), ("origin-partition", b"1"), ("origin-offset", b"9" * 5000)],
        [("origin-topic", b""), ("origin-partition", b"1"), ("origin-offset", b"1")],
    ],
)
def test_a_record_that_no_node_wrote_has_no_origin(headers: list[tuple[str, bytes]]) -> None:
    """It is listed all the same, with all its headers."""
    letter = read_letter(Record(headers=headers))
    assert letter.entry.origin is None
    assert letter.headers == headers


def test_the_model_is_read_from_the_value_or_else_from_the_headers() -> None:
    """A value with a route wins; a claim, which has none, brings the header."""
    value = encode(InferenceRequest(model="ranker"))
    said = [("model", b"other")]
    assert read_letter(as_read(Record(value, said))).entry.model == "ranker"
    assert read_letter(as_read(Record(b"{}", said))).entry.model == "other"
    assert read_letter(as_read(Record(b"{}"))).entry.model is None


@pytest.mark.parametrize(
    "request_record",
    [
        Record(bytes(5000), [("x", b"y")]),
        Record(bytes(5000), [("big", bytes(6000))], key=bytes(6000)),
        Record(bytes(5000), key=None),
    ],
)
def test_a_cut_letter_knows_its_original(request_record: Record) -> None:
    """The original of a letter is told from any other record that could lie in its place."""
    letter = read_letter(as_read(request_record, max_bytes=4000))
    assert letter.value is None
    assert letter.entry.truncated_bytes >= 5000
    assert letter.is_of(request_record)
    assert not letter.is_of(replace(request_record, value=bytes(4999)))
    assert not letter.is_of(replace(request_record, key=b"other"))
    assert not letter.is_of(replace(request_record, headers=[("x", b"z"), ("more", b"")]))


def test_a_mark_names_a_letter_of_its_partition() -> None:
    """What is written is what is read; nothing else is a mark."""
    headers = mark_headers(LetterId(2, 40))
    assert read_mark(Record(None, headers, b"2:40", partition=2)) == LetterId(2, 40)
    assert read_mark(Record(b"", headers)) is None
    assert read_mark(Record(None, [("replayed", b"x")])) is None
    assert read_mark(Record(None, [*headers, ("y", b"")])) is None


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        (LetterFilter(), True),
        (LetterFilter(model="m"), True),
        (LetterFilter(model="n"), False),
        (LetterFilter(reason="NO GOOD"), True),
        (LetterFilter(reason="better"), False),
        (LetterFilter(topic="requests"), True),
        (LetterFilter(topic="letters"), False),
        (LetterFilter(since_ms=1000, until_ms=1001), True),
        (LetterFilter(since_ms=1001), False),
        (LetterFilter(until_ms=1000), False),
        (LetterFilter(ids=frozenset({LetterId(0, 7)})), True),
        (LetterFilter(ids=frozenset({LetterId(1, 7)})), False),
        (LetterFilter(model="m", reason="better"), False),
    ],
)
def test_a_filter_wants_what_fits_all_of_it(wanted: LetterFilter, is_wanted: bool) -> None:
    """What is not given excludes none; what is given must all hold."""
    entry = read_letter(as_read(Record(encode(InferenceRequest(model="m"))))).entry
    assert wanted.wants(entry) is is_wanted


@pytest.mark.parametrize(("text", "place"), [("1:12", (1, 12)), ("12", (0, 12)), (" 0:0 ", (0, 0))])
def test_reads_ids_as_people_write_them(text: str, place: tuple[int, int]) -> None:
    """With one partition the offset is enough."""
    assert LetterId.parse(text) == place


@pytest.mark.parametrize("text", ["", "x", "1:", ":1", "-1", "1:2:3", "1.5", "1" * 30])
def test_refuses_what_is_no_id(text: str) -> None:
    """In words that say the form."""
    with pytest.raises(InvalidArgument, match="PARTITION:OFFSET"):
        LetterId.parse(text)
