"""Routing alone, in one process on one thread: loans taken and given back, by every kind of name.

Splits have 2 or 20 arms of equal weight, which are labels of as many versions that serve, or other
models; a model without a split has one version, or twenty. Keys are a thousand, one after the
other; without a key an arm is chosen by chance.

`python -m benchmarks.experiments.routing_loop REQUESTS ROUNDS` says each part's nanoseconds per
request, round by round, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

from benchmarks.measurement import Json
from headrace.consumer.core.calls import Answers, Calls
from headrace.consumer.core.choice import Serving
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.serving_map import ServingMap
from headrace.schemas.cohorts import allocate
from headrace.schemas.records import Batching, ModelConfig, ModelVersion, Route

ARMS: Final = (0, 2, 20)
KEYED: Final = "with a key"
UNKEYED: Final = "without a key"
VERSION: Final = "a version"
LABEL: Final = "a label"
HIGHEST: Final = "0 arms, 20 versions"
_LOOP: Final = "the loop alone"
_VERSIONS: Final = 20
_KEYS: Final = tuple(b"user-%d" % number for number in range(1000))
_NO_KEYS: Final = (None,)

Keys = Sequence[bytes | None]
Part = tuple[Route | None, Keys]


def of_arms(count: int, of: str = "labels") -> str:
    """Return what the results call a split of so many arms."""
    return f"{count} arms" if of == "labels" or not count else f"{count} other models"


class _Silent:
    """A version that nobody asks anything."""

    signature_def = b""
    is_busy = False

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:
        """Refuse."""
        raise NotImplementedError(f"{calls}, {may_wait}")

    async def wait_broken(self) -> Exception:
        """Refuse."""
        raise NotImplementedError

    def rebatch(self, batching: Batching) -> None:
        """Take no notice."""

    def rescale(self, replicas: int) -> None:
        """Take no notice."""

    async def unload(self) -> None:
        """Hold nothing."""


def made() -> ServingMap:
    """Return a map of a model for each kind of split, and of twenty others that arms lead to."""
    serving_map = ServingMap()
    labels = {f"label-{number}": number for number in range(1, _VERSIONS + 1)}
    _add(serving_map, HIGHEST, range(1, _VERSIONS + 1), {}, labels)
    for count in ARMS:
        arms = dict(list(labels.items())[:count])
        _add(serving_map, of_arms(count), range(1, max(count, 1) + 1), dict.fromkeys(arms, 1), arms)
        others = {f"other-{number}": 1 for number in range(count)}
        for name in others:
            _add(serving_map, name, [1])
        if others:
            _add(serving_map, of_arms(count, "models"), [], others)
    serving_map.note_change(0)
    return serving_map


def _add(
    serving_map: ServingMap,
    model: str,
    versions: Sequence[int],
    split: dict[str, int] | None = None,
    labels: dict[str, int] | None = None,
) -> None:
    routes = serving_map.model(model)
    for number in versions:
        record = ModelVersion(model=model, version=number, uri="", digest="", size_bytes=0)
        routes.serving[number] = Serving(PlannedVersion(record, 0), _Silent())
    routes.wanted, routes.bound = frozenset(versions), dict(labels or {})
    split = split or {}
    routes.configure(
        ModelConfig(model=model, labels=labels or {}, split=split, cohorts=allocate(split))
    )


def parts() -> dict[tuple[str, str], Part]:
    """Return what is asked, and with which keys, by what the results call it."""
    found: dict[tuple[str, str], Part] = {(_LOOP, ""): (None, _KEYS)}
    names = [HIGHEST, *(of_arms(count, of) for of in ("labels", "models") for count in ARMS)]
    for name in dict.fromkeys(names):
        found[name, KEYED] = Route(name), _KEYS
        found[name, UNKEYED] = Route(name), _NO_KEYS
    found[VERSION, KEYED] = Route(HIGHEST, version=7), _KEYS
    found[LABEL, KEYED] = Route(HIGHEST, label="label-7"), _KEYS
    return found


def measured(serving_map: ServingMap, part: Part, requests: int) -> float:
    """Return the nanoseconds that a request takes, the loop included."""
    route, keys = part
    acquire = serving_map.acquire
    turns = list(islice(cycle(keys), requests))
    began = time.perf_counter_ns()
    if route is None:
        for _ in turns:
            pass
    else:
        for key in turns:
            with acquire(route, key):
                pass
    return (time.perf_counter_ns() - began) / requests


def main(requests: int, rounds: int) -> None:
    """Let the parts take turns."""
    serving_map, wanted = made(), parts()
    for part in wanted.values():
        measured(serving_map, part, requests // 10)
    for _ in range(rounds):
        loop = 0.0
        for (name, keys), part in wanted.items():
            nanoseconds = measured(serving_map, part, requests)
            if part[0] is None:
                loop = nanoseconds
                continue
            found: Json = {"part": name, "keys": keys, "ns": round(nanoseconds - loop, 1)}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
