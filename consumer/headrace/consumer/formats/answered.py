"""Answers in columns, and how such columns are joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from headrace.consumer.core.calls import Fault


class Answered(NamedTuple):
    """Answers, and the places in the sequence of requests that they belong to.

    A request that failed has its fault at its index in `faults`, and an empty payload.
    """

    positions: Sequence[int]
    payloads: list[bytes]
    faults: dict[int, Fault]


def failed(positions: Sequence[int], fault: Fault) -> Answered:
    """Return the same fault for each of these requests."""
    count = len(positions)
    return Answered(positions, [b""] * count, dict.fromkeys(range(count), fault))


def joined(parts: Iterable[Answered]) -> Answered:
    """Return all answers as one."""
    whole = list(parts)
    if len(whole) == 1:
        return whole[0]
    positions: list[int] = []
    payloads: list[bytes] = []
    faults: dict[int, Fault] = {}
    for part in whole:
        start = len(payloads)
        positions += part.positions
        payloads += part.payloads
        for index, fault in part.faults.items():
            faults[start + index] = fault
    return Answered(positions, payloads, faults)
