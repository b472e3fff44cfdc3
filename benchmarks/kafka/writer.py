"""A load in its own process: `python -m benchmarks.kafka.writer ORDER`, the order being JSON.

    live   as fast as it goes, at most so many requests ahead of the answers
    paced  at a fixed rate, whatever the answers do

Says on standard output when the first request was due, and at the end how late it was itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.watching import watching
from benchmarks.kafka.writing import Requests, pace, producing, write
from benchmarks.measurement import percentile
from benchmarks.open_loop import stdin_ended
from headrace.publisher.connection import KafkaConnection

_HEAD_START_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the writer is told. A rate of 0 means live, and then `max_lead` counts."""

    bootstrap_servers: str
    requests: str
    responses: str
    models: tuple[str, ...]
    shape: tuple[int, ...]
    run: int
    count: int
    rate: float = 0.0
    max_lead: int = 0

    def to_json(self) -> str:
        """Return the order as the command line takes it."""
        return json.dumps(asdict(self))


async def main(order: Order) -> None:
    """Write what is ordered."""
    connection = KafkaConnection(order.bootstrap_servers)
    values = Payloads.of(order.models, order.shape).values
    requests = Requests(topic=order.requests, run=order.run, values=values, count=order.count)
    async with producing(connection) as producer, watching(connection, order.responses) as watch:
        first_due = time.time() + _HEAD_START_SECONDS
        print(json.dumps({"first_due": first_due}), flush=True)
        await asyncio.sleep(_HEAD_START_SECONDS)
        late = [0.0]
        if order.rate:
            late = await pace(producer, requests, order.rate, first_due)
        else:
            await write(producer, requests, watch.answers, order.max_lead)
        said = {
            "written_at": time.time(),
            "late_ms_p99": round(percentile(sorted(late), 99) * 1000, 2),
            "late_ms_max": round(max(late) * 1000, 2),
        }
        print(json.dumps(said), flush=True)
    # What it used can be read only as long as it is there.
    await stdin_ended().wait()


if __name__ == "__main__":
    asyncio.run(main(Order(**json.loads(sys.argv[1]))))
