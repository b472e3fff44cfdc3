"""One round: so many requests, one subject that answers them, and the check of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from benchmarks.children import running
from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.processor_time import ELSEWHERE, ProcessorTime, per_million
from benchmarks.kafka.stage import Stage, Subject
from benchmarks.kafka.watching import Expected, watching
from benchmarks.kafka.writer import Order
from benchmarks.kafka.writing import Requests, backlog
from benchmarks.measurement import Json

_MIN_RECORDS: Final = 8
_MAX_GUESSES: Final = 3
_WARM_RECORDS: Final = 10_000
LEAD_RECORDS: Final = 40_000
_MAX_RECORDS: Final = 1_500_000
_MAX_ROUND_BYTES: Final = 800 * 10**6
_MAX_WARM_BYTES: Final = 32 * 10**6


async def of_backlog(stage: Stage, subject: Subject, payloads: Payloads, count: int) -> Json:
    """Measure from the moment a backlog appears until its last answer can be read."""
    run = stage.next_run()
    requests = Requests(topic=subject.requests, run=run, values=payloads.values, count=count)
    async with watching(stage.connection, subject.responses) as watch:
        async with backlog(stage.connection, requests) as release:
            time = ProcessorTime(stage.pids(subject))
            began = await release()
            ended = await watch.wait_answered(subject, count, trailing_markers=1)
            used = time.used()
        await watch.check(expected(subject, payloads, run, count))
    return figures(subject, payloads.value_bytes, count, ended - began, used)


async def of_live_load(stage: Stage, subject: Subject, payloads: Payloads, count: int) -> Json:
    """Measure from the first request of a running writer until the last answer can be read."""
    run = stage.next_run()
    order = order_for(stage, subject, payloads, run, count, max_lead=LEAD_RECORDS)
    async with (
        watching(stage.connection, subject.responses) as watch,
        running("benchmarks.kafka.writer", [order.to_json()], stage.bench.folder) as writer,
    ):
        began = (await writer.next_message())["first_due"]
        time = ProcessorTime(stage.pids(subject) | {"writer": [writer.pid]})
        await writer.next_message()
        ended = await watch.wait_answered(subject, count)
        used = time.used()
        await watch.check(expected(subject, payloads, run, count))
    return figures(subject, payloads.value_bytes, count, ended - began, used)


def order_for(
    stage: Stage,
    subject: Subject,
    payloads: Payloads,
    run: int,
    count: int,
    *,
    rate: float = 0.0,
    max_lead: int = 0,
) -> Order:
    """Return what a writer is told for a round of this subject."""
    return Order(
        bootstrap_servers=stage.connection.bootstrap_servers,
        requests=subject.requests,
        responses=subject.responses,
        models=payloads.models,
        shape=payloads.shape,
        run=run,
        count=count,
        rate=rate,
        max_lead=max_lead,
    )


async def size(stage: Stage, subject: Subject, payloads: Payloads, seconds: float) -> int:
    """Return how many records take a subject about so long; warms it up on the way.

    Short rounds are slower than long ones by what begins and ends them, so the guess is made of
    rounds that become longer.
    """
    count = max(_MIN_RECORDS, min(_WARM_RECORDS, _MAX_WARM_BYTES // payloads.value_bytes))
    await of_backlog(stage, subject, payloads, count)
    for _ in range(_MAX_GUESSES):
        found = await of_backlog(stage, subject, payloads, count)
        count = limited(found["records_per_second"] * seconds, payloads.value_bytes)
        if found["seconds"] >= seconds / 2 or count <= found["records"]:
            break
    return count


def limited(records: float, value_bytes: int) -> int:
    """Return about so many records, but no more than a round may have; two digits are enough."""
    most = min(_MAX_RECORDS, _MAX_ROUND_BYTES // value_bytes)
    digits: int = 10 ** max(0, len(str(int(records))) - 2)
    return max(_MIN_RECORDS, min(most, round(records / digits) * digits))


def expected(subject: Subject, payloads: Payloads, run: int, count: int) -> Expected:
    """Return what the answers of a round have to be."""
    return Expected(
        run=run,
        count=count,
        check=partial(subject.check, payloads),
        headers=subject.headers,
        correlation=subject.correlation,
    )


def figures(
    subject: Subject, value_bytes: int, count: int, seconds: float, used: Mapping[str, float]
) -> Json:
    """Return the figures of a round, by names that medians are made of."""
    return {
        "subject": subject.name,
        "value_bytes": value_bytes,
        "records": count,
        "seconds": round(seconds, 3),
        "records_per_second": round(count / seconds),
        "cpu_elsewhere_percent": round(100 * used[ELSEWHERE] / seconds),
        **per_million(used, count),
    }
