"""What is done together: requests of one encoding are decoded, members of one key are run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.formats.members import Member

T = TypeVar("T")


class Lot(NamedTuple):
    """Requests of one encoding, and their positions among all."""

    encoding: Encoding
    positions: Sequence[int]
    payloads: Sequence[bytes]


def flat(columns: Sequence[Sequence[T]]) -> Sequence[T]:
    """Return columns as one, without a copy when there is one."""
    return columns[0] if len(columns) == 1 else list(chain.from_iterable(columns))


def lots(calls: Sequence[Calls], now: float) -> tuple[list[Lot], list[int]]:
    """Return the requests by encoding, and the positions of those whose deadline has passed."""
    found: dict[Encoding, list[Lot]] = {}
    expired: list[int] = []
    start = 0
    for encoding, payloads, deadlines in calls:
        positions = range(start, start + len(payloads))
        start += len(payloads)
        if not payloads or min(deadlines) > now:
            lot = Lot(encoding, positions, payloads)
        else:
            alive = [place for place, deadline in enumerate(deadlines) if deadline > now]
            expired += [p for p, d in zip(positions, deadlines, strict=True) if d <= now]
            lot = Lot(encoding, [positions[i] for i in alive], [payloads[i] for i in alive])
        if lot.payloads:
            found.setdefault(encoding, []).append(lot)
    return [_joined(parts) for parts in found.values()], expired


def taken(column: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """Return the elements at these places, without a copy when they are all."""
    if places == range(len(column)):
        return column
    return [column[place] for place in places]


def chunks(group: Sequence[Member], max_rows: int) -> Iterator[list[Member]]:
    """Yield members of one key in runs of at most `max_rows`, cut where a run is full."""
    chunk: list[Member] = []
    rows = 0
    for each in group:
        start, count = 0, len(each.positions)
        while start < count:
            room = _room(each, max_rows - rows, count)
            if room < 1 and chunk:
                yield chunk
                chunk, rows = [], 0
                continue
            stop = min(count, start + max(1, room))
            chunk.append(each.part(start, stop))
            rows += (stop - start) * each.rows
            start = stop
    yield chunk


def _room(each: Member, rows: int, count: int) -> int:
    """Return how many requests of a member go into so many rows."""
    return rows // each.rows if each.rows else count


def _joined(parts: Sequence[Lot]) -> Lot:
    """Return lots of one encoding as one."""
    if len(parts) == 1:
        return parts[0]
    positions = flat([part.positions for part in parts])
    together = range(positions[0], positions[0] + len(positions))
    if positions[-1] == together[-1]:
        positions = together
    return Lot(parts[0].encoding, positions, flat([part.payloads for part in parts]))
