"""A gRPC client in a process of its own, at a fixed rate or with a fixed number of calls open.

At a *rate*, calls arrive at random moments that do not depend on the server, as those of many
callers do, and latency counts from the moment at which a call was due. That a late client is
charged too is on purpose; how late it was is in the figures.

`python -m benchmarks.rpc.caller ORDER` says `{}` when it begins, and then what became of the
calls, as JSON.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import select
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from benchmarks.measurement import Json, percentile
from benchmarks.predict_wire import framed
from benchmarks.rpc.http2 import OK, Connection, Ended

EXPIRED: Final = "expired"
"""How a call ended that its client gave up."""
_SWEEP_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a caller is to do.

    Either `rate` or `in_flight` is given. Calls ask what is in `requests` in turn. Those that are
    due in the first `settle_seconds` count nothing; then `seconds` are measured.
    """

    endpoint: str
    method: str
    requests: Sequence[str]
    connections: int
    seconds: float
    settle_seconds: float
    timeout_seconds: float
    rate: float = 0.0
    in_flight: int = 0
    seed: int = 0

    def to_json(self) -> str:
        """Return it as an argument of the program."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the order of an argument."""
        return cls(**json.loads(text))


@dataclass(slots=True)
class Tally:
    """What became of the calls that count: milliseconds by status, and how late we were."""

    latencies_ms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    late_ms: list[float] = field(default_factory=list[float])

    def add(self, status: str, latency_ms: float) -> None:
        """Count a call."""
        self.latencies_ms.setdefault(status, []).append(latency_ms)

    def figures(self, seconds: float) -> Json:
        """Return the figures; those of refusals are of all statuses that are not OK."""
        counts = Counter({status: len(found) for status, found in self.latencies_ms.items()})
        good = sorted(self.latencies_ms.get(OK, ()))
        refused = sorted(
            latency
            for status, found in self.latencies_ms.items()
            if status not in (OK, EXPIRED)
            for latency in found
        )
        return {
            "offered_per_second": round(counts.total() / seconds, 1),
            "answered_per_second": round(len(good) / seconds, 1),
            "statuses": dict(counts),
            **_percentiles("", good),
            **_percentiles("refused_", refused),
            "client_late_p99_ms": round(percentile(sorted(self.late_ms) or [0.0], 99), 3),
        }


def _percentiles(prefix: str, ordered: Sequence[float]) -> Json:
    if not ordered:
        return {}
    return {
        f"{prefix}p{percent:g}_ms".replace(".", "_"): round(percentile(ordered, percent), 3)
        for percent in (50, 99, 99.9)
    }


class Caller:
    """Makes the calls of one order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._bodies = itertools.cycle([framed(Path(name).read_bytes()) for name in order.requests])
        self._connections = [
            Connection(order.endpoint, order.method, order.timeout_seconds)
            for _ in range(order.connections)
        ]
        self._turn = itertools.cycle(self._connections)
        self._to_send: set[Connection] = set()
        self._next_sweep = self._counts_from = 0.0
        self._inside = 0
        self._tally = Tally()

    def run(self) -> Json:
        """Call until the time is over and every call has ended."""
        order, began, cpu_before = self._order, time.monotonic(), time.process_time()
        self._counts_from = began + order.settle_seconds
        last_due = self._counts_from + order.seconds
        arrivals = _arrivals(order, began)
        next_due = next(arrivals)
        while True:
            now = time.monotonic()
            if now >= last_due and not self._inside:
                break
            while next_due <= now and next_due < last_due:
                self._call(next_due, now)
                next_due = next(arrivals)
            while self._inside < order.in_flight and now < last_due:
                self._call(now, now)
            self._exchange(now, min(next_due, now + 0.05) if now < last_due else now + 0.05)
        for connection in self._connections:
            connection.close()
        cpu_share = (time.process_time() - cpu_before) / (time.monotonic() - began)
        return self._tally.figures(order.seconds) | {"client_cpu_percent": round(100 * cpu_share)}

    def _call(self, due: float, now: float) -> None:
        self._inside += 1
        connection = next(self._turn)
        connection.call(due, next(self._bodies))
        self._to_send.add(connection)
        if due >= self._counts_from:
            self._tally.late_ms.append((now - due) * 1000)

    def _exchange(self, now: float, until: float) -> None:
        """Send what is due, wait for answers until then at most, and take them in."""
        if now >= self._next_sweep:
            self._sweep(now)
        for connection in self._to_send:
            connection.send(now)
        self._to_send = {each for each in self._to_send if each.has_output}
        wait = max(0.0, until - time.monotonic())
        readable, _, _ = select.select(self._connections, self._to_send, [], wait)
        for connection in readable:
            ended = connection.receive()
            now = time.monotonic()
            for call in ended:
                self._settle(call, now)
            # What ended may have made room, and pings want an answer.
            self._to_send.add(connection)

    def _sweep(self, now: float) -> None:
        """Give up what is too late."""
        self._next_sweep = now + _SWEEP_SECONDS
        for connection in self._connections:
            for due in connection.expire(now):
                self._settle(Ended(due, EXPIRED), now)
        self._to_send.update(self._connections)

    def _settle(self, call: Ended, now: float) -> None:
        self._inside -= 1
        if call.due >= self._counts_from:
            self._tally.add(call.status, (now - call.due) * 1000)


def _arrivals(order: Order, began: float) -> Iterator[float]:
    """Return when calls are due; never, when it is their number that is fixed."""
    if not order.rate:
        yield float("inf")
    chance, due = random.Random(order.seed), began
    while True:
        due += chance.expovariate(order.rate)
        yield due


def main(order: Order) -> None:
    """Call, and say what came of it."""
    caller = Caller(order)
    # A pause of ours would count as the server's.
    gc.disable()
    print(json.dumps({}), flush=True)
    print(json.dumps(caller.run()), flush=True)


if __name__ == "__main__":
    main(Order.from_json(sys.argv[1]))
