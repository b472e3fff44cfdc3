"""How long a version event takes to become LOADING and AVAILABLE on a running node.

Beside it: what a program that is started anew for each version would take, and the load alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks import models
from benchmarks.announcer import Announced, Announcer, announcing
from benchmarks.children import running
from benchmarks.measurement import Bench, Json, Measured, spread
from benchmarks.servers import Node, broker, node
from benchmarks.status_watch import StatusWatch, watching
from headrace.schemas.records import ModelVersion, ServableState

_MODELS: Final = ("half_plus_two", "digits")
_EVENT: Final = "event on a running node"
_FRESH: Final = "fresh Python"
# Between two events, so that they meet whatever beats in the node at different moments of it.
_MAX_PAUSE_SECONDS: Final = 0.5


async def run(bench: Bench) -> Measured:
    """Measure both models."""
    events, starts = bench.size(25, 4), bench.size(5, 1)
    bench.tell("building the models")
    folders = await models.build(bench.folder, *_MODELS)
    runs: list[Json] = []
    async with (
        broker() as connection,
        node(bench, connection) as serving,
        watching(connection) as watch,
        announcing(connection, bench.folder / "store") as announcer,
    ):
        for model in _MODELS:
            bench.tell(f"{events} events of {model}")
            prepared = await _prepare(announcer, folders[model], model, events + 1)
            runs += await _replace(announcer, watch, serving, prepared)
    for number in range(starts * len(_MODELS)):
        model = _MODELS[number % len(_MODELS)]
        bench.tell(f"fresh Python loads {model}")
        runs.append(await _load_afresh(bench, model, folders[model]))
    parameters = {
        "events_per_model": events,
        "fresh_starts_per_model": starts,
        "models": list(_MODELS),
        "max_pause_seconds": _MAX_PAUSE_SECONDS,
    }
    return Measured(parameters=parameters, runs=runs, medians=_medians(runs))


async def _prepare(
    announcer: Announcer, folder: Path, model: str, count: int
) -> list[ModelVersion]:
    return [
        await announcer.prepare(model, number, models.variant(folder, number))
        for number in range(1, count + 1)
    ]


async def _replace(
    announcer: Announcer, watch: StatusWatch, serving: Node, events: list[ModelVersion]
) -> list[Json]:
    """Announce one version after the other, each when the one before has settled."""
    first, *others = events
    await announcer.announce(first)
    await watch.moment(first.model, first.version, ServableState.AVAILABLE)
    announced: list[tuple[ModelVersion, Announced]] = []
    for event in others:
        await asyncio.sleep(random.uniform(0, _MAX_PAUSE_SECONDS))
        announced.append((event, await announcer.announce(event)))
        await watch.moment(event.model, event.version, ServableState.AVAILABLE)
        await watch.moment(event.model, event.version - 1, ServableState.END)
    logged = await asyncio.to_thread(_loading_logged, serving.log)
    return [await _figures(watch, logged, event, when) for event, when in announced]


async def _figures(
    watch: StatusWatch, logged: dict[tuple[str, int], float], event: ModelVersion, when: Announced
) -> Json:
    loading = await watch.moment(event.model, event.version, ServableState.LOADING)
    available = await watch.moment(event.model, event.version, ServableState.AVAILABLE)
    acknowledged = when.acknowledged_at
    return {
        "kind": _EVENT,
        "model": event.model,
        "version": event.version,
        "send_to_acknowledged_ms": _ms(acknowledged - when.sent_at),
        "acknowledged_to_loading_logged_ms": _ms(logged[event.model, event.version] - acknowledged),
        "acknowledged_to_loading_read_ms": _ms(loading - acknowledged),
        "acknowledged_to_available_read_ms": _ms(available - acknowledged),
        "send_to_available_read_ms": _ms(available - when.sent_at),
    }


def _loading_logged(log: Path) -> dict[tuple[str, int], float]:
    """Return when the node logged that it began to load each version, in epoch seconds."""
    found: dict[tuple[str, int], float] = {}
    for line in log.read_text("utf-8", "replace").splitlines():
        if '"version.load_begun"' in line:
            said = json.loads(line)
            moment = datetime.fromisoformat(said["timestamp"]).timestamp()
            found.setdefault((said["model"], said["version"]), moment)
    return found


async def _load_afresh(bench: Bench, model: str, folder: Path) -> Json:
    started = time.time()
    async with running("benchmarks.fresh_load", [str(folder)], bench.folder) as child:
        said = await child.next_message()
        await child.finish()
    return {
        "kind": _FRESH,
        "model": model,
        "start_to_imported_ms": _ms(said["imported_at"] - started),
        "load_alone_ms": _ms(said["loaded_at"] - said["imported_at"]),
        "start_to_loaded_ms": _ms(said["loaded_at"] - started),
    }


def _medians(runs: list[Json]) -> Json:
    found: Json = {}
    for model in _MODELS:
        for kind in (_EVENT, _FRESH):
            chosen = [run for run in runs if run["model"] == model and run["kind"] == kind]
            figures = {
                name: spread(run[name] for run in chosen)
                for name in chosen[0]
                if name.endswith("_ms")
            }
            found.setdefault(model, {})[kind] = figures
    return found


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
