"""How the ends of a range are written."""

from datetime import UTC, datetime

import pytest

from headrace.cli.replay.bounds import parse_bound
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.ranges import Bound, Edge, Moment


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], Edge.END),
        (["beginning"], Edge.BEGINNING),
        (["end"], Edge.END),
        (["offset:1234"], 1234),
        (["3:99"], {3: 99}),
        (["3:99", " 0:7 "], {3: 99, 0: 7}),
        (["2026-11-24T10:00:00Z"], Moment(1_795_514_400_000)),
        (["2026-11-24T11:00:00+01:00"], Moment(1_795_514_400_000)),
    ],
)
def test_reads_what_people_write(texts: list[str], expected: Bound) -> None:
    """Edges, offsets of all partitions or of some, and times."""
    assert parse_bound("--from", texts, Edge.END) == expected


def test_reads_a_duration_as_before_now() -> None:
    """Two hours are two hours ago."""
    bound = parse_bound("--from", ["2h"], Edge.BEGINNING)
    assert isinstance(bound, Moment)
    ago_seconds = datetime.now(UTC).timestamp() - bound.epoch_ms / 1000
    assert 7199 < ago_seconds < 7230


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["yesterday"], "--from 'yesterday' is no end of a range: give an ISO time"),
        (["offset:-1"], "is no end of a range"),
        (["2h", "3h"], "only PARTITION:OFFSET can be repeated"),
        (["0:1", "0:2"], "with another partition each time"),
        (["0:1", "end"], "nothing else beside it"),
    ],
)
def test_says_how_to_write_it(texts: list[str], words: str) -> None:
    """The message names the option, what was given and what can be."""
    with pytest.raises(InvalidArgument, match=words):
        parse_bound("--from", texts, Edge.BEGINNING)
