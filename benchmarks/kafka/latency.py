"""How long one request takes through the Kafka door: alone, and among many at a steady rate.

*Alone* is one request at a time by `InferenceClient`. The steady rates are shares of what the same
node reaches in the same run; requests arrive when they are due, whatever became of earlier ones,
and latency counts from that moment to the moment at which a read_committed consumer has the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import numpy as np

from benchmarks import models
from benchmarks.children import running
from benchmarks.kafka import rounds
from benchmarks.kafka.arrivals import Arrivals, receiving
from benchmarks.kafka.deployments import DELIVERIES, Deployment, deployed
from benchmarks.kafka.payloads import Payloads, check_values
from benchmarks.kafka.processor_time import ELSEWHERE, ProcessorTime
from benchmarks.kafka.stage import Stage, staged
from benchmarks.kafka.watching import watching
from benchmarks.measurement import Bench, BenchmarkError, Json, Measured, medians_of, percentile
from headrace.publisher.requests import InferenceClient

ALONE: Final = "one at a time"
_MODEL: Final = "half_plus_two"
SHARES: Final = (0.1, 0.5)
_SETTLE_SECONDS: Final = 1.0
_WARM_UP_REQUESTS: Final = 20


def at_share(share: float) -> str:
    """Return what the results call a steady rate."""
    return f"{share:.0%} of the peak rate"


async def run(bench: Bench) -> Measured:
    """Take turns: each delivery guarantee, alone and at each rate, several times."""
    folders = await models.build(bench.folder, _MODEL)
    payloads = Payloads.of([_MODEL], (3,))
    seconds = bench.size(8, 2)
    runs: list[Json] = []
    peaks: dict[str, int] = {}
    async with staged(bench) as stage, AsyncExitStack() as stack:
        nodes: dict[str, Deployment] = {}
        for delivery in DELIVERIES:
            bench.tell(f"starting a node: {delivery}")
            nodes[delivery] = await stack.enter_async_context(deployed(stage, delivery, folders))
            peaks[delivery] = await peak_of(stage, nodes[delivery], payloads)
        for number in range(bench.size(3, 1)):
            for delivery, deployment in nodes.items():
                runs.append(await _alone(stage, deployment, payloads, bench.size(300, 50)))
                for share in SHARES:
                    rate = peaks[delivery] * share
                    found = await steady(stage, deployment, payloads, rate, seconds)
                    runs.append({"load": at_share(share), **found})
                bench.tell(f"round {number + 1}: {delivery} {_words(runs[-1 - len(SHARES) :])}")
    parameters = {
        "DELIVERIES": list(nodes),
        "peak_records_per_second": peaks,
        "seconds_per_rate": seconds,
        "settle_seconds": _SETTLE_SECONDS,
    }
    return Measured(parameters=parameters, runs=runs, medians=_medians(runs))


async def peak_of(stage: Stage, deployment: Deployment, payloads: Payloads) -> int:
    """Return the rate at which a backlog is answered, median of a few."""
    subject, bench = deployment.subject, stage.bench
    count = await rounds.size(stage, subject, payloads, bench.size(30, 8) / 10)
    found = [
        await rounds.of_backlog(stage, subject, payloads, count) for _ in range(bench.size(3, 1))
    ]
    rate: int = round(medians_of(found)["records_per_second"])
    bench.tell(f"peak: {rate:,} records/s")
    return rate


async def _alone(stage: Stage, deployment: Deployment, payloads: Payloads, count: int) -> Json:
    subject = deployment.subject
    latencies: list[float] = []
    async with InferenceClient(stage.connection, topics=deployment.topics) as client:
        for number in range(count + _WARM_UP_REQUESTS):
            x = payloads.vectors[number % len(payloads.vectors)]
            began = time.perf_counter()
            answer = await client.infer(_MODEL, {"x": x})
            latencies.append((time.perf_counter() - began) * 1000)
            check_values(number, answer.outputs["y"], payloads.expected(number))
    found = spread_of(latencies[_WARM_UP_REQUESTS:])
    return {"subject": subject.name, "load": ALONE, **found}


async def steady(
    stage: Stage, deployment: Deployment, payloads: Payloads, rate: float, seconds: float
) -> Json:
    """Let requests arrive at a rate; the answers of one partition of eight are received."""
    subject, run = deployment.subject, stage.next_run()
    count = round(rate * (seconds + _SETTLE_SECONDS))
    order = rounds.order_for(stage, subject, payloads, run, count, rate=rate)
    async with (
        watching(stage.connection, subject.responses) as watch,
        receiving(stage.connection, subject.responses, run) as arrivals,
        running("benchmarks.kafka.writer", [order.to_json()], stage.bench.folder) as writer,
    ):
        first_due = (await writer.next_message())["first_due"]
        clock = ProcessorTime(stage.pids(subject) | {"writer": [writer.pid]})
        said = await writer.next_message()
        ended = await watch.wait_answered(subject, count)
        used = clock.used()
        latencies = latencies_of(await arrivals.received(), first_due, rate, _SETTLE_SECONDS)
        await watch.check(rounds.expected(subject, payloads, run, count))
    elapsed = ended - first_due
    return {
        "subject": subject.name,
        "rate": round(rate),
        "answered_per_second": round(count / elapsed),
        "writer_late_ms_p99": said["late_ms_p99"],
        "cpu_elsewhere_percent": round(100 * used[ELSEWHERE] / elapsed),
        "cpu_writer_percent": round(100 * used["writer"] / elapsed),
        **spread_of(latencies),
    }


def latencies_of(
    arrivals: Arrivals, first_due: float, rate: float, settle_seconds: float
) -> list[float]:
    """Return milliseconds from when each request was due, without those of the first moments."""
    numbers, times = arrivals
    due = np.asarray(numbers, np.float64) / rate
    late = np.asarray(times, np.float64) - first_due - due
    found: list[float] = (late[due >= settle_seconds] * 1000).tolist()
    return found


def spread_of(latencies: Sequence[float]) -> Json:
    """Return the percentiles that the report shows.

    Raises:
        BenchmarkError: there are none.
    """
    ordered = sorted(latencies)
    if not ordered:
        raise BenchmarkError("no answer came whose latency counts")
    return {
        "answers": len(ordered),
        "p50_ms": round(percentile(ordered, 50), 2),
        "p99_ms": round(percentile(ordered, 99), 2),
        "max_ms": round(ordered[-1], 2),
    }


def _words(runs: Sequence[Json]) -> str:
    return ", ".join(f"{run['load']}: {run['p50_ms']:g} / {run['p99_ms']:g} ms" for run in runs)


def _medians(runs: Sequence[Json]) -> Json:
    found: Json = {}
    for subject, load in dict.fromkeys((run["subject"], run["load"]) for run in runs):
        same = [run for run in runs if (run["subject"], run["load"]) == (subject, load)]
        found.setdefault(subject, {})[load] = medians_of(same, 2)
    return found
