"""Replaying the control log, as one of the benchmarks: `control_replay` on a broker of its own."""

from __future__ import annotations

import statistics

from benchmarks import control_replay
from benchmarks.measurement import Bench, Measured
from benchmarks.servers import broker


async def run(bench: Bench) -> Measured:
    """Replay 100,000 version events of 1,000 models."""
    events, models = bench.size(100_000, 5_000), bench.size(1_000, 50)
    bench.tell(f"{events} events of {models} models")
    async with broker() as connection:
        measured = await control_replay.measure(connection.bootstrap_servers, events, models)
    rates: list[float] = measured["events_per_second"]
    return Measured(
        parameters={"events": events, "models": models},
        runs=[{"events_per_second": rate} for rate in rates],
        medians={
            "events_per_second": round(statistics.median(rates)),
            "bytes_per_known_version": measured["bytes_per_known_version"],
            "longest_loop_turn_ms": measured["longest_loop_turn_ms"],
        },
    )
