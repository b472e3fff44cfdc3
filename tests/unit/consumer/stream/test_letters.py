"""Dead letters keep the original, as far as their topic takes it."""

from collections.abc import Sequence
from typing import cast

from headrace.consumer.stream.letters import TRUNCATED_BYTES, cut_to_fit, dead_letter
from tests.fakes.records import Record


def request(
    value: bytes, headers: Sequence[tuple[str, bytes]] = (("x", b"y"),), key: bytes = b"k"
) -> Record:
    """Return a record from the middle of a topic."""
    return Record(value, headers, key, offset=12, partition=3)


def test_keeps_bytes_key_headers_and_origin() -> None:
    """Nothing of the original is lost, and where it came from is told."""
    letter = dead_letter("letters", 0, request(b"\x00bad"), "no good")
    assert (letter.key, letter.value) == (b"k", b"\x00bad")
    assert letter.headers == [
        ("x", b"y"),
        ("origin-topic", b"requests"),
        ("origin-partition", b"3"),
        ("origin-offset", b"12"),
        ("reason", b"no good"),
    ]


def test_a_letter_that_fits_is_left_alone() -> None:
    """Cutting is for those that are too large."""
    letter = dead_letter("letters", 0, request(b"bad"), "no good")
    assert cut_to_fit(letter, letter.size_bytes) is letter


def test_a_letter_loses_its_value_first() -> None:
    """Key, headers and origin stay, and the loss is counted."""
    letter = dead_letter("letters", 0, request(bytes(5000)), "no good")
    cut = cut_to_fit(letter, 4000)
    assert (cut.key, cut.value) == (b"k", None)
    assert cut.headers == [*letter.headers, (TRUNCATED_BYTES, b"5000")]


def test_a_letter_loses_key_and_headers_when_they_are_too_large() -> None:
    """The origin and the reason always arrive."""
    record = request(bytes(100), headers=[("big", bytes(9000))], key=bytes(9000))
    cut = cut_to_fit(dead_letter("letters", 0, record, "r" * 99_999), 8000)
    names = [name for name, _ in cut.headers]
    assert names == ["origin-topic", "origin-partition", "origin-offset", "reason", TRUNCATED_BYTES]
    assert int(cut.headers[-1][1]) >= 18_100
    assert cut.size_bytes <= 8000


def test_a_letter_keeps_headers_without_a_value() -> None:
    """What the request had is kept as it was, and measured."""
    nothing = cast("bytes", None)  # Kafka allows it, whatever aiokafka's annotations say.
    letter = dead_letter("letters", 0, request(b"bad", [("x", nothing)]), "no good")
    assert letter.headers[0] == ("x", nothing)
    assert cut_to_fit(letter, letter.size_bytes) is letter


def test_a_reason_is_cut() -> None:
    """Whatever somebody wrote into a request, its reason does not fill the topic."""
    letter = dead_letter("letters", 0, request(b"bad"), "\udcff" + "r" * 99_999)
    reason = dict(letter.headers)["reason"]
    assert reason.startswith(b"?rr")
    assert len(reason) == 4096
