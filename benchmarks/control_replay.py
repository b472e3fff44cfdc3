"""How fast a node replays the control log, and what a known version costs in memory.

Puts version events of many models on a fresh control topic, then replays them as a node does: read,
decode, check and fold. Prints one JSON object; with `--output FILE` also writes it there.

    python benchmarks/control_replay.py --bootstrap-servers localhost:9092
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
import tracemalloc
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Any

from headrace.consumer.control.log import ControlLog
from headrace.consumer.core.plan import Plan, fold
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.records import ModelVersion, version_key
from headrace.schemas.topics import Topics, specs


def event(number: int, models: int) -> tuple[bytes, bytes]:
    """Return the record that publishes one version; versions of all models are interleaved."""
    model, version = f"model-{number % models:04d}", number // models + 1
    record = ModelVersion(
        model=model,
        version=version,
        uri=f"file:///srv/artifacts/{number:064x}",
        digest=f"sha256:{number:064x}",
        size_bytes=1 << 20,
        signatures=("serving_default",),
        publisher="trainer@pipeline",
        created_at_ms=1_700_000_000_000 + number,
    )
    return version_key(model, version), encode(record)


async def write(connection: KafkaConnection, topic: str, events: int, models: int) -> None:
    """Put the events on a new topic."""
    await ensure_topics(connection, [s for s in specs(Topics(control=topic)) if s.name == topic])
    async with connection.producer(linger_ms=5, max_batch_size=256 * 1024) as producer:
        for start in range(0, events, 5000):
            batch = [event(n, models) for n in range(start, min(start + 5000, events))]
            sent = [await producer.send(topic, key=k, value=v, partition=0) for k, v in batch]
            await asyncio.gather(*sent)


async def replay(connection: KafkaConnection, topic: str) -> tuple[Plan, float, float]:
    """Return the plan, the seconds it took, and the longest the event loop was held."""
    plan, started = Plan(), time.perf_counter()
    async with aclosing(ControlLog(connection, topic).batches()) as batches:
        turns = Turns()
        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(turns.count())
            async for batch in batches:
                plan = fold(plan, batch.events)
                if batch.is_caught_up:
                    break
            seconds = time.perf_counter() - started
            counting.cancel()
    return plan, seconds, turns.longest_seconds


class Turns:
    """How long the event loop takes to come back, at worst."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0

    async def count(self) -> None:
        """Measure until cancelled."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.longest_seconds = max(self.longest_seconds, time.perf_counter() - before)


async def measure(servers: str, events: int, models: int) -> dict[str, Any]:
    """Write, replay three times for the speed, and once more for the memory."""
    connection, topic = KafkaConnection(servers), f"bench-control-{uuid.uuid4().hex[:8]}"
    await write(connection, topic, events, models)
    runs: list[float] = []
    longest = 0.0
    for _ in range(3):
        plan, seconds, held = await replay(connection, topic)
        runs.append(events / seconds)
        longest = max(longest, held)
        assert sum(len(m.versions) for m in plan.models.values()) == events
        del plan
    gc.collect()
    tracemalloc.start()
    plan, _, _ = await replay(connection, topic)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    known = sum(len(model.versions) for model in plan.models.values())
    return {
        "events": events,
        "models": models,
        "events_per_second": [round(run) for run in runs],
        "best_events_per_second": round(max(runs)),
        "bytes_per_known_version": round(used / known),
        "longest_loop_turn_ms": round(longest * 1000, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bootstrap-servers", default="localhost:9092")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result = json.dumps(
        asyncio.run(measure(options.bootstrap_servers, options.events, options.models)), indent=2
    )
    print(result)
    if options.output:
        options.output.write_text(result + "\n", "utf-8")


if __name__ == "__main__":
    main()
