"""A hundred version swaps while all doors answer at a steady rate: failures, and latencies.

A request counts as *inside* when it was open at any moment between a version event's
acknowledgement and the END of the version that it replaced; the others are *outside*.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks import models, rest_client
from benchmarks.announcer import Announcer, announcing
from benchmarks.children import Child, running
from benchmarks.measurement import Bench, Json, Measured, percentile, spread
from benchmarks.servers import broker, node
from benchmarks.status_watch import StatusWatch, watching
from headrace.schemas.records import ModelVersion, ServableState

_MODEL: Final = "digits"
_REST: Final = "REST"
_RATES: Final = {"gRPC": 200.0, "Kafka": 100.0, _REST: 100.0}
_CLIENTS: Final = {
    "gRPC": "benchmarks.grpc_client",
    "Kafka": "benchmarks.kafka_client",
    _REST: "benchmarks.rest_client",
}
# Long enough for as much time outside as inside of swaps.
_PAUSE_SECONDS: Final = 0.6
_SETTLE_SECONDS: Final = 2.0

Window = tuple[float, float]
Sample = tuple[float, float, int, str]


async def run(bench: Bench) -> Measured:
    """Swap under load."""
    swaps = bench.size(100, 4)
    bench.tell("building the model")
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    async with broker() as connection, node(bench, connection) as serving:
        addresses = {
            "gRPC": serving.grpc_endpoint,
            "Kafka": connection.bootstrap_servers,
            _REST: serving.http_endpoint,
        }
        async with (
            watching(connection) as watch,
            announcing(connection, bench.folder / "store") as announcer,
        ):
            events = [
                await announcer.prepare(_MODEL, number, models.variant(folder, number))
                for number in range(1, swaps + 2)
            ]
            await announcer.announce(events[0])
            await watch.moment(_MODEL, 1, ServableState.AVAILABLE)
            if not await rest_client.is_answered(addresses[_REST]):
                bench.tell("nodes of this version answer no predict over REST: two doors only")
                del addresses[_REST]
            files = {door: bench.folder / f"{door}.json" for door in addresses}
            async with AsyncExitStack() as stack:
                clients: list[Child] = []
                for door, address in addresses.items():
                    arguments = [address, str(_RATES[door]), str(files[door])]
                    entering = running(_CLIENTS[door], arguments, bench.folder)
                    clients.append(await stack.enter_async_context(entering))
                for client in clients:
                    await client.next_message()
                bench.tell(f"{swaps} swaps")
                swapped = await _swap(announcer, watch, events[1:])
                for client in clients:
                    await client.finish()
    runs = [{"kind": "swap", **one} for one in swapped]
    windows = [(one["acknowledged_at"], one["old_ended_at"]) for one in swapped]
    doors = {
        door: _door_figures(_RATES[door], await asyncio.to_thread(_read, file), windows)
        for door, file in files.items()
    }
    runs += [{"kind": "door", "door": door, **figures} for door, figures in doors.items()]
    parameters = {
        "swaps": swaps,
        "model": _MODEL,
        "requests_per_second": {door: _RATES[door] for door in files},
        "pause_between_swaps_seconds": _PAUSE_SECONDS,
    }
    return Measured(parameters=parameters, runs=runs, medians=_summary(swapped, doors))


async def _swap(
    announcer: Announcer, watch: StatusWatch, events: Sequence[ModelVersion]
) -> list[Json]:
    """Announce one version after the other; each time wait until the old one has ended."""
    # The clients' first moments are not those of a steady load.
    await asyncio.sleep(_SETTLE_SECONDS)
    swapped: list[Json] = []
    for event in events:
        announced = await announcer.announce(event)
        available = await watch.moment(_MODEL, event.version, ServableState.AVAILABLE)
        ended = await watch.moment(_MODEL, event.version - 1, ServableState.END)
        swapped.append(
            {
                "version": event.version,
                "acknowledged_at": round(announced.acknowledged_at, 4),
                "available_at": round(available, 4),
                "old_ended_at": round(ended, 4),
            }
        )
        await asyncio.sleep(_PAUSE_SECONDS)
    return swapped


def _read(file: Path) -> list[Sample]:
    samples: list[Sample] = [tuple(sample) for sample in json.loads(file.read_text("ascii"))]
    return samples


def _door_figures(rate: float, samples: Sequence[Sample], windows: Sequence[Window]) -> Json:
    """Sort one door's requests into those inside and those outside of swaps."""
    inside, outside = list[float](), list[float]()
    firsts: dict[int, tuple[float, float]] = {}
    for due, latency, version, error in samples:
        if not error:
            firsts[version] = min(firsts.get(version, (due, latency)), (due, latency))
            is_inside = overlaps(windows, due, due + latency / 1000)
            (inside if is_inside else outside).append(latency)
    failures = Counter(error for *_, error in samples if error)
    return {
        "requests_per_second": rate,
        "requests": len(samples),
        "failed": failures.total(),
        "failures": dict(failures),
        "versions_that_answered": len(firsts),
        # Without the version that was there before the clients.
        "first_answer_of_a_version_ms": spread(firsts[v][1] for v in sorted(firsts)[1:]),
        "inside": _latencies(inside),
        "outside": _latencies(outside),
    }


def overlaps(windows: Sequence[Window], begin: float, end: float) -> bool:
    """Return whether a moment of `begin` to `end` lies in a window; windows are in order."""
    # The last window that begins before the request ends is the only one that can reach it.
    index = bisect.bisect_right(windows, end, key=lambda window: window[0]) - 1
    return index >= 0 and windows[index][1] >= begin


def _latencies(values: list[float]) -> Json:
    ordered = sorted(values)
    if not ordered:
        return {"requests": 0}
    return {
        "requests": len(ordered),
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(percentile(ordered, 99), 2),
        "max_ms": round(ordered[-1], 2),
    }


def _summary(swapped: Sequence[Json], doors: dict[str, Json]) -> Json:
    return {
        "acknowledged_to_available_ms": spread(
            (one["available_at"] - one["acknowledged_at"]) * 1000 for one in swapped
        ),
        "window_ms": spread(
            (one["old_ended_at"] - one["acknowledged_at"]) * 1000 for one in swapped
        ),
        "doors": doors,
    }
