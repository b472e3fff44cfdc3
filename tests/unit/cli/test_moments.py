"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.cli.moments import iso, parse_moment
from headrace.publisher.errors import InvalidArgument

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", "2026-01-31T11:58:30.000Z"),
        ("2h", "2026-01-31T10:00:00.000Z"),
        ("1.5d", "2026-01-30T00:00:00.000Z"),
        ("1w", "2026-01-24T12:00:00.000Z"),
        ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05.000Z"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
    ],
)
def test_reads_durations_and_iso_times(text: str, moment: str) -> None:
    """A duration counts back from now."""
    assert iso(parse_moment("--since", text, NOW)) == moment


@pytest.mark.parametrize("text", ["", "2", "h", "2 years", "yesterday", "999999w", "2026-13-01"])
def test_refuses_what_is_no_time(text: str) -> None:
    """The option is named and both forms are shown."""
    with pytest.raises(InvalidArgument, match=r"--until .*2h.*ISO"):
        parse_moment("--until", text, NOW)
