"""How long a bad version goes on answering once somebody goes back, on each of three nodes.

Clients ask each node at a steady rate. The clock starts when the library is called, or when the
program is started; it stops with the last answer by the bad version that a client of the node got.
*Loaded* means that the good version serves beside the bad one, *not loaded* that it has to come
back first, while the bad one answers on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import models
from benchmarks.children import Child, running
from benchmarks.experiments.going_back import (
    BAD,
    GOOD,
    LABEL,
    LABEL_MOVE,
    MODEL,
    ROLLBACK,
    GoBack,
    beginning,
    forward,
    ways,
)
from benchmarks.measurement import Bench, BenchmarkError, Json, Measured, spread
from benchmarks.servers import Node, broker, node
from headrace.publisher.fleet import Fleet, StatusReader, status_reader
from headrace.publisher.models import ModelPublisher
from headrace.schemas.records import ServableState
from headrace.schemas.topics import Topics

LOADED: Final = "loaded"
NOT_LOADED: Final = "not loaded"
DONE: Final = "done"
"""Where the medians have how long the call or the program itself took."""
_NODES: Final = ("node-1", "node-2", "node-3")
# What the benchmark waits for between two measurements, and nothing that is measured.
_SETTINGS: Final = {"heartbeat-seconds": "0.5"}
# A label that moves leaves its version to whoever asks for the latest.
_AFTER_GOING_BACK: Final = {ROLLBACK: {GOOD}, LABEL_MOVE: {GOOD, BAD}}
_RATE: Final = 100.0
_SETTLE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0

Sample = tuple[float, float, int, str]


class Span(NamedTuple):
    """When going back began, when whatever did it was done, and when nothing more came of it.

    Units: epoch seconds.
    """

    began: float
    done: float
    ended: float


async def run(bench: Bench) -> Measured:
    """Go forth and back: by each way, from each situation, several times."""
    repeats = bench.size(10, 1)
    folder = (await models.build(bench.folder, MODEL))[MODEL]
    runs: list[Json] = []
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(broker())
        nodes = {
            name: await stack.enter_async_context(
                node(bench, connection, name=name, settings=_SETTINGS)
            )
            for name in _NODES
        }
        store = str(bench.folder / "store")
        publisher = await stack.enter_async_context(ModelPublisher(connection, store=store))
        for number in (GOOD, BAD):
            await publisher.publish(MODEL, number, models.variant(folder, number), wait="fleet")
        reader = await stack.enter_async_context(status_reader(connection, Topics()))
        course = Course(bench, publisher, reader)
        for (done, by), go_back in ways(connection, publisher, bench.folder).items():
            runs += await _measured(course, nodes, (done, by), go_back, repeats)
    parameters = {
        "nodes": len(_NODES),
        "model": MODEL,
        "requests_per_second_and_node": _RATE,
        "repeats": repeats,
    }
    return Measured(parameters=parameters, runs=runs, medians=medians(runs))


class Course:
    """Goes forth, and waits until all nodes have followed, each time."""

    def __init__(self, bench: Bench, publisher: ModelPublisher, reader: StatusReader) -> None:
        self.bench = bench
        self._publisher = publisher
        self._reader = reader

    async def begin(self, done: str) -> None:
        """Bring the good version to everyone."""
        offset = (await self._publisher.configure(beginning(done))).control_offset
        await self.followed(offset, _AFTER_GOING_BACK[done])

    async def forth(self, done: str, *, keeps: bool) -> None:
        """Bring the bad version to everyone."""
        change = forward(done, keeps=keeps)
        offset = (await self._publisher.configure(change)).control_offset
        await self.followed(offset, {GOOD, BAD} if keeps else {BAD})

    async def back(self, done: str, go_back: GoBack) -> Span:
        """Go back; return when that was, once nothing more can come of it."""
        began = time.time()
        offset = await go_back()
        is_done = time.time()
        await self.followed(offset, _AFTER_GOING_BACK[done])
        await asyncio.sleep(_PAUSE_SECONDS)
        return Span(began, is_done, time.time())

    async def followed(self, offset: int, serving: Collection[int]) -> None:
        """Return when just these versions serve on every node, as of that event or a later one.

        Raises:
            BenchmarkError: they did not in time.
        """

        def have_followed(fleet: Fleet) -> bool | None:
            return all(_follows(fleet, name, offset, serving) for name in _NODES) or None

        if not await self._reader.wait_for(have_followed, _SETTLE_SECONDS):
            raise BenchmarkError(f"not just versions {sorted(serving)} serve on every node")


def _follows(fleet: Fleet, name: str, offset: int, serving: Collection[int]) -> bool:
    view = fleet.nodes[name]
    found = {
        number
        for (_, number), status in view.servables.items()
        if status.state is not ServableState.END
    }
    states = [view.servables[MODEL, number].state for number in found]
    is_still = all(state is ServableState.AVAILABLE for state in states)
    return view.control_offset >= offset and found == set(serving) and is_still


async def _measured(
    course: Course,
    nodes: Mapping[str, Node],
    way: tuple[str, str],
    go_back: GoBack,
    repeats: int,
) -> list[Json]:
    """Go back several times by one way, and return how long each node's bad answers went on."""
    done, by = way
    spans: list[tuple[str, Span]] = []
    await course.begin(done)
    async with _asking(course.bench, nodes, LABEL if done == LABEL_MOVE else "") as files:
        for keeps in (True, False):
            for _ in range(repeats):
                await course.forth(done, keeps=keeps)
                await asyncio.sleep(_PAUSE_SECONDS)
                span = await course.back(done, go_back)
                spans.append((LOADED if keeps else NOT_LOADED, span))
    runs: list[Json] = []
    for name, file in files.items():
        samples = await asyncio.to_thread(_read, file)
        if failed := [error for *_, error in samples if error]:
            raise BenchmarkError(f"{len(failed)} requests failed, the first with {failed[0]}")
        runs += [
            {
                "done": done,
                "by": by,
                "good_version": situation,
                "node": name,
                "done_after_ms": round((span.done - span.began) * 1000, 1),
                "last_bad_answer_ms": last_bad_answer_ms(samples, span),
            }
            for situation, span in spans
        ]
    worst = max(run["last_bad_answer_ms"] for run in runs)
    course.bench.tell(f"{done} by {by}: the last bad answer after {worst:,.0f} ms at most")
    return runs


@asynccontextmanager
async def _asking(
    bench: Bench, nodes: Mapping[str, Node], label: str
) -> AsyncGenerator[dict[str, Path], None]:
    """Ask every node in the block; the files that are yielded are there behind it."""
    files = {name: bench.folder / f"{name}.json" for name in nodes}
    async with AsyncExitStack() as stack:
        askers: list[Child] = []
        for name, serving in nodes.items():
            arguments = [serving.grpc_endpoint, str(_RATE), str(files[name]), label]
            entering = running("benchmarks.experiments.asker", arguments, bench.folder)
            askers.append(await stack.enter_async_context(entering))
        for asker in askers:
            await asker.next_message()
        yield files
        for asker in askers:
            await asker.finish()


def _read(file: Path) -> list[Sample]:
    samples: list[Sample] = [tuple(sample) for sample in json.loads(file.read_text("ascii"))]
    return samples


def last_bad_answer_ms(samples: Sequence[Sample], span: Span) -> float:
    """Return how long after its beginning a span had its last answer by the bad version."""
    answered = [due + latency / 1000 for due, latency, version, _ in samples if version == BAD]
    inside = [at for at in answered if span.began <= at < span.ended]
    return round((max(inside, default=span.began) - span.began) * 1000, 1)


def medians(runs: Sequence[Json]) -> Json:
    """Return how long bad answers went on, by what was done, by what, from where, on which node."""
    found: Json = {}
    for run in runs:
        by_situation = found.setdefault(run["done"], {}).setdefault(run["by"], {})
        by_situation.setdefault(run["good_version"], {}).setdefault(run["node"], []).append(run)
    return {
        done: {
            by: {situation: _spreads(nodes) for situation, nodes in situations.items()}
            for by, situations in by_way.items()
        }
        for done, by_way in found.items()
    }


def _spreads(nodes: Mapping[str, Sequence[Json]]) -> Json:
    return {
        name: spread(run["last_bad_answer_ms"] for run in same) for name, same in nodes.items()
    } | {DONE: spread(run["done_after_ms"] for run in next(iter(nodes.values())))}
