"""What a worker has: a frame of calls, cut from the tickets of several callers."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate, chain, groupby

from headrace.consumer.core.calls import Calls, Fault
from headrace.consumer.workers import frames
from headrace.consumer.workers.queue import Ticket


class Share:
    """The part of a ticket that is in one frame: all of it, or the calls at some positions."""

    __slots__ = ("count", "positions", "ticket")

    def __init__(self, ticket: Ticket, positions: Sequence[int] | None = None) -> None:
        self.ticket = ticket
        self.positions = positions
        self.count = ticket.count if positions is None else len(positions)

    @property
    def first(self) -> int:
        """The position of its first call in the ticket."""
        return self.positions[0] if self.positions else 0

    @property
    def latest_seconds(self) -> float:
        """The latest deadline of its calls."""
        if self.positions is None:
            return self.ticket.latest_seconds
        return max(self.ticket.calls.deadlines_seconds[place] for place in self.positions)

    def place(self, index: int) -> int:
        """Return the ticket's position of the share's call at `index`."""
        return index if self.positions is None else self.positions[index]

    def calls(self) -> Calls:
        """Return its calls."""
        calls = self.ticket.calls
        if self.positions is None:
            return calls
        return Calls(
            calls.encoding,
            [calls.payloads[place] for place in self.positions],
            [calls.deadlines_seconds[place] for place in self.positions],
        )


class Frame:
    """Calls that a worker has and has not all answered.

    **Concurrency:** event loop only.
    """

    __slots__ = ("_ends", "_shares", "left", "watchdog")

    def __init__(self, shares: Sequence[Share]) -> None:
        self._shares = shares
        self._ends = list(accumulate(share.count for share in shares))
        self.left = self._ends[-1]
        self.watchdog: asyncio.TimerHandle | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether it is a call over which a worker has died before."""
        return self._shares[0].positions is not None

    def calls(self) -> list[Calls]:
        """Return the calls as a frame carries them: neighbours of one encoding together."""
        shares = [share.calls() for share in self._shares]
        if len(shares) == 1:
            return shares
        joined: list[Calls] = []
        for encoding, group in groupby(shares, key=lambda calls: calls.encoding):
            neighbours = list(group)
            payloads = chain.from_iterable(calls.payloads for calls in neighbours)
            deadlines = chain.from_iterable(calls.deadlines_seconds for calls in neighbours)
            joined.append(Calls(encoding, list(payloads), list(deadlines)))
        return joined

    def settle(self, ran: frames.Ran) -> None:
        """Hand out the answers of one message.

        Raises:
            ValueError: they do not fit the frame.
        """
        total, payloads, positions = self._ends[-1], ran.payloads, ran.positions
        count = total if positions is None else len(positions)
        if len(payloads) != count or not (
            _are_within(positions or (), total) and _are_within(ran.faults, count)
        ):
            raise ValueError(f"answers to {count} calls of a frame of {total}")
        self.left -= count
        if positions is None:
            self._settle_all(ran)
            return
        for index, (position, payload) in enumerate(zip(positions, payloads, strict=True)):
            number = bisect_right(self._ends, position)
            share = self._shares[number]
            place = share.place(position - self._ends[number] + share.count)
            share.ticket.settle(place, payload, ran.faults.get(index))

    def positions_of(self, ticket: Ticket) -> list[int]:
        """Return where the calls of a ticket are in the frame."""
        return [
            place
            for share, end in zip(self._shares, self._ends, strict=True)
            if share.ticket is ticket
            for place in range(end - share.count, end)
        ]

    def unanswered(self) -> list[Share]:
        """Return the calls without an answer, each as a share of its own."""
        return [
            Share(share.ticket, [place])
            for share in self._shares
            for place in (share.positions or range(share.count))
            if share.ticket.payloads[place] is None
        ]

    def stop_watching(self) -> None:
        """Let the worker live past the deadline of this frame."""
        if self.watchdog is not None:
            self.watchdog.cancel()

    def _settle_all(self, ran: frames.Ran) -> None:
        payloads, faults, start = ran.payloads, self._faults_by_share(ran.faults), 0
        for number, (share, end) in enumerate(zip(self._shares, self._ends, strict=True)):
            mine = faults.get(number, {})
            if share.positions is None:
                share.ticket.settle_all(payloads[start:end], mine)
            else:
                for index, place in enumerate(share.positions):
                    share.ticket.settle(place, payloads[start + index], mine.get(index))
            start = end

    def _faults_by_share(self, faults: dict[int, Fault]) -> dict[int, dict[int, Fault]]:
        """Sort faults by the share they belong to, in one pass: a frame may be nothing but faults.

        Both are indices: of a share in the frame, of a call in the share.
        """
        sorted_out: dict[int, dict[int, Fault]] = {}
        for index, fault in faults.items():
            number = bisect_right(self._ends, index)
            place = index - self._ends[number] + self._shares[number].count
            sorted_out.setdefault(number, {})[place] = fault
        return sorted_out


def _are_within(numbers: Collection[int], count: int) -> bool:
    return not numbers or 0 <= min(numbers) <= max(numbers) < count
