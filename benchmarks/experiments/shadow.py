"""How long the answers of a version take while every request is sent to another version as well.

Both doors of one node are asked at the same rates with a shadow and without one, in turn. The
rates are shares of what the node answered without a shadow, in the same run. What the shadow does
is counted by the comparisons that the node publishes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks import models
from benchmarks.kafka import latency as kafka_latency
from benchmarks.kafka.deployments import EXACTLY_ONCE, Deployment, deployed
from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.stage import Stage, staged
from benchmarks.measurement import Bench, BenchmarkError, Json, Measured, medians_of
from benchmarks.predict_wire import Floats
from benchmarks.rpc import calling
from benchmarks.rpc.calling import Stand
from headrace.publisher.clients import TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import Fleet, status_reader
from headrace.publisher.models import ModelPublisher
from headrace.publisher.topics import ensure_topics
from headrace.schemas.records import (
    ModelConfig,
    ServableState,
    Shadow,
    VersionPolicy,
)
from headrace.schemas.topics import specs

NONE: Final = "no shadow"
ALL: Final = "all requests shadowed"
GRPC: Final = "gRPC"
KAFKA: Final = "Kafka"
SHARES: Final = (0.25, 0.5)
_MODEL: Final = "half_plus_two"
_PRIMARY: Final = 2
_TARGET: Final = 1
_X: Final[Floats] = np.array([1.0, 2.0, 5.0], np.float32)
_Y: Final[Floats] = np.array([2.5, 3.0, 4.5], np.float32)
_CONNECTIONS: Final = 8
_TIMEOUT_SECONDS: Final = 10.0
_APPLY_SECONDS: Final = 60.0

Steady = Callable[[float, int], Awaitable[Json]]
"""Asks at a rate, with a seed; returns the latencies."""


@dataclass(frozen=True, slots=True)
class Door:
    """A way in: its peak, and how it is asked at a rate."""

    peak: float
    steady: Steady


async def run(bench: Bench) -> Measured:
    """Take turns: each door, each rate, without and with a shadow."""
    folder = (await models.build(bench.folder, _MODEL))[_MODEL]
    seconds, rounds = bench.size(8, 1), bench.size(3, 1)
    runs: list[Json] = []
    async with staged(bench) as stage, AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(
            deployed(stage, EXACTLY_ONCE, {_MODEL: folder})
        )
        await ensure_topics(stage.connection, specs(deployment.topics))
        store = str(bench.folder / "store")
        publisher = await stack.enter_async_context(
            ModelPublisher(stage.connection, topics=deployment.topics, store=store)
        )
        await publisher.configure(_config(NONE))
        await publisher.publish(_MODEL, _PRIMARY, models.variant(folder, _PRIMARY), wait="fleet")
        doors = {
            GRPC: await _grpc(stage, deployment, seconds),
            KAFKA: await _kafka(stage, deployment, seconds),
        }
        for number in range(rounds):
            for mode in (NONE, ALL):
                await _apply(stage.connection, deployment, publisher, mode)
                runs += await _round(stage, deployment, doors, mode, number)
    parameters = {
        "rounds": rounds,
        "seconds_per_rate": seconds,
        "connections": _CONNECTIONS,
        "peaks_per_second": {name: round(door.peak) for name, door in doors.items()},
    }
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))


async def _round(
    stage: Stage, deployment: Deployment, doors: Mapping[str, Door], mode: str, number: int
) -> list[Json]:
    runs: list[Json] = []
    for name, door in doors.items():
        for share in SHARES:
            before = await _comparisons(stage.connection, deployment.topics.shadow)
            found = await door.steady(door.peak * share, number)
            after = await _comparisons(stage.connection, deployment.topics.shadow)
            run = {"door": name, "mode": mode, "load": at_share(share), **found}
            runs.append(run | {"comparisons": after - before})
            stage.bench.tell(
                f"{name}, {at_share(share)}, {mode}: p50 {found['p50_ms']} ms, "
                f"p99 {found['p99_ms']} ms, {after - before:,} comparisons"
            )
    return runs


def at_share(share: float) -> str:
    """Return what the results call a rate."""
    return f"{share:.0%} of the peak"


async def _grpc(stage: Stage, deployment: Deployment, seconds: float) -> Door:
    bench, serving = stage.bench, deployment.nodes[0]
    files = await calling.requests(bench.folder, serving, [_MODEL], _X, _Y)
    order = calling.order_of(serving, files, seconds=seconds, timeout_seconds=_TIMEOUT_SECONDS)
    stand = Stand(bench, serving, order)
    # The first calls of a model are not those of a busy one.
    await replace(stand, order=replace(order, seconds=1.0)).peak(_CONNECTIONS)
    peak = (await stand.peak(_CONNECTIONS))["answered_per_second"]
    bench.tell(f"{GRPC}, peak: {peak:,.0f} calls/s")

    async def steady(rate: float, seed: int) -> Json:
        return await stand.at_rate(_CONNECTIONS, rate, seed=seed)

    return Door(peak, steady)


async def _kafka(stage: Stage, deployment: Deployment, seconds: float) -> Door:
    payloads = Payloads.of([_MODEL], (3,))
    peak = await kafka_latency.peak_of(stage, deployment, payloads)

    async def steady(rate: float, seed: int) -> Json:  # noqa: ARG001 - arrivals are regular here
        return await kafka_latency.steady(stage, deployment, payloads, rate, seconds)

    return Door(peak, steady)


def _config(mode: str) -> ModelConfig:
    """Return a configuration in which the higher version answers, and the lower may be shadow."""
    shadow = Shadow(target=str(_TARGET)) if mode == ALL else None
    return ModelConfig(model=_MODEL, policy=VersionPolicy(latest=2), shadow=shadow)


async def _apply(
    connection: KafkaConnection, deployment: Deployment, publisher: ModelPublisher, mode: str
) -> None:
    """Configure, and return when the node has applied that and both versions serve."""
    offset = (await publisher.configure(_config(mode))).control_offset

    def has_applied(fleet: Fleet) -> bool | None:
        (view,) = fleet.nodes.values()
        found = [view.servable(_MODEL, version) for version in (_PRIMARY, _TARGET)]
        serve = all(status and status.state is ServableState.AVAILABLE for status in found)
        return (serve and view.control_offset >= offset) or None

    async with status_reader(connection, deployment.topics) as reader:
        if not await reader.wait_for(has_applied, _APPLY_SECONDS):
            raise BenchmarkError(f"the node has not applied {mode!r} in {_APPLY_SECONDS:g} s")


async def _comparisons(connection: KafkaConnection, topic: str) -> int:
    """Return how many records the topic of comparisons has."""
    partition = TopicPartition(topic, 0)
    async with connection.consumer() as consumer:
        return (await consumer.end_offsets([partition]))[partition]


def medians(runs: Sequence[Json]) -> Json:
    """Return medians by door, rate and mode."""
    found: Json = {}
    for run in runs:
        by_mode = found.setdefault(run["door"], {}).setdefault(run["load"], {})
        by_mode.setdefault(run["mode"], []).append(run)
    return {
        door: {
            load: {mode: medians_of(same, 2) for mode, same in modes.items()}
            for load, modes in loads.items()
        }
        for door, loads in found.items()
    }
