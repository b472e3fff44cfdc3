"""What the node and the process that compares tell each other.

Each message is MessagePack behind 8 bytes of little-endian length.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.schemas.comparison import Answered
from headrace.schemas.records import Tolerance

LENGTH: Final = struct.Struct("<Q")

PASSING: Final = frozenset(
    {
        code.name
        for code in (
            Code.UNAVAILABLE,
            Code.RESOURCE_EXHAUSTED,
            Code.DEADLINE_EXCEEDED,
            Code.CANCELLED,
        )
    }
)
"""Codes of errors that tell of the moment and not of the request: no answer compares to them."""


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """What became of one call, and how fast: an encoded answer, or an error's code and message."""

    payload: bytes
    latency_micros: int = 0
    error_code: str = ""
    error: str = ""


class Pair(msgspec.Struct, array_like=True, frozen=True):
    """What became of one request here and there."""

    primary: Outcome
    shadow: Outcome


class Job(msgspec.Struct, frozen=True):
    """Pairs of outcomes to compare, all of one encoding, and what their records have in common.

    `primary` and `shadow` say where the outcomes came from; latencies and errors are filled in for
    each pair. `missed` goes into the first record.
    """

    model: str
    node: str
    at_ms: int
    encoding: Encoding
    tolerances: dict[str, Tolerance]
    primary: Answered
    shadow: Answered
    missed: int
    pairs: list[Pair]
