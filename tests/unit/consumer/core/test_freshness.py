"""The control offset that a client writes."""

from __future__ import annotations

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.core.freshness import read_min_offset


@pytest.mark.parametrize(
    ("raw", "offset"),
    [(b"0", 0), ("17", 17), (b"007", 7), (b"9223372036854775807", 2**63 - 1)],
)
def test_reads_digits(raw: bytes | str, offset: int) -> None:
    """As text or bytes, whatever the door."""
    assert read_min_offset(raw) == offset


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "-1",
        "+1",
        "1.0",
        "1e3",
        " 1",
        "1\n",
        "x",
        "٣",
        "9223372036854775808",
        "9" * 5000,
        b"\xff",
    ],
)
def test_refuses_what_is_no_offset(raw: bytes | str) -> None:
    """The text shows what came, cut short, and says what is wanted."""
    with pytest.raises(InvalidRequest, match="give a control offset") as raised:
        read_min_offset(raw)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert len(str(raised.value)) < 300
