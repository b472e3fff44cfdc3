"""The control record that a request wants to be routed by at the least, as clients write it."""

from __future__ import annotations

from typing import Final

from headrace.consumer.core.errors import InvalidRequest

MIN_CONTROL_OFFSET: Final = "min-control-offset"
"""The name of the Kafka header, the gRPC metadata entry and the HTTP header."""

_MAX_OFFSET: Final = 2**63 - 1
_MAX_DIGITS: Final = len(str(_MAX_OFFSET))
_SHOWN_CHARACTERS: Final = 40


def read_min_offset(raw: bytes | str) -> int:
    """Return a control offset from the digits that a client sent.

    Raises:
        InvalidRequest: it is none.
    """
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        offset = int(text)
        if offset <= _MAX_OFFSET:
            return offset
    raise InvalidRequest(
        f"{MIN_CONTROL_OFFSET} is {text[:_SHOWN_CHARACTERS]!a}: give a control offset, which is "
        f"a whole number from 0 to {_MAX_OFFSET} in decimal digits, as 'headrace publish' prints it"
    )
