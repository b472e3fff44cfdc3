"""Resolving a request to a version, and the loans on it."""

from __future__ import annotations

import asyncio

import pytest

from headrace.consumer.core.choice import Serving
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import (
    RequestError,
    ServableNotFound,
    ServableNotReady,
    UnknownLabel,
)
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.serving_map import ServingMap
from headrace.schemas.records import ModelConfig, ModelVersion, Route
from tests.fakes.loading import EchoServable


def serving(model: str, version: int) -> Serving:
    """Return an AVAILABLE version."""
    record = ModelVersion(model=model, version=version, uri="", digest="", size_bytes=0)
    planned = PlannedVersion(record, 0)
    return Serving(planned, EchoServable(planned))


@pytest.fixture
async def serving_map() -> ServingMap:
    """Versions 1, 2 and 3 of m serve; 3 is not wanted any more, 4 is loading."""
    result = ServingMap()
    model = result.model("m")
    model.serving = {n: serving("m", n) for n in (1, 2, 3)}
    model.wanted = frozenset({1, 2, 4})
    model.coming = frozenset({4})
    model.labels = {"stable": 1, "next": 4}
    model.bound = {"stable": 1}
    return result


def resolve(serving_map: ServingMap, route: Route, affinity: bytes | None = None) -> int:
    """Return the version number that a route leads to."""
    with serving_map.acquire(route, affinity) as found:
        return found.id.version


@pytest.mark.parametrize(
    ("route", "version"),
    [
        (Route("m"), 2),
        (Route("m", 1), 1),
        (Route("m", 3), 3),
        (Route("m", None, "stable"), 1),
    ],
)
async def test_resolves(serving_map: ServingMap, route: Route, version: int) -> None:
    """Explicit version, then label, then the highest AVAILABLE wanted version."""
    assert resolve(serving_map, route) == version


@pytest.mark.parametrize(
    ("route", "error", "code"),
    [
        (Route("other"), ServableNotFound, Code.NOT_FOUND),
        (Route("other", 1), ServableNotFound, Code.NOT_FOUND),
        (Route("m", 9), ServableNotFound, Code.NOT_FOUND),
        (Route("m", 4), ServableNotReady, Code.UNAVAILABLE),
        (Route("m", None, "next"), ServableNotReady, Code.UNAVAILABLE),
        (Route("m", None, "wrong"), UnknownLabel, Code.INVALID_ARGUMENT),
        (Route("other", None, "stable"), UnknownLabel, Code.INVALID_ARGUMENT),
    ],
)
async def test_refuses(
    serving_map: ServingMap, route: Route, error: type[RequestError], code: Code
) -> None:
    """Each way of not finding a version has its own error and code."""
    with pytest.raises(error) as caught:
        serving_map.acquire(route)
    assert caught.value.code is code


async def test_not_found_speaks_as_tensorflow_serving_does(serving_map: ServingMap) -> None:
    """Clients match on these words."""
    with pytest.raises(ServableNotFound, match=r"Servable not found for request: Latest\(x\)"):
        serving_map.acquire(Route("x"))
    with pytest.raises(ServableNotFound, match=r"Specific\(m, 9\)"):
        serving_map.acquire(Route("m", 9))


async def test_first_version_still_loading_is_unavailable_not_unknown() -> None:
    """A client should come again, not give up."""
    fresh = ServingMap()
    fresh.model("m").coming = frozenset({1})
    with pytest.raises(ServableNotReady):
        fresh.acquire(Route("m"))


async def test_unwanted_version_answers_when_no_wanted_one_does(serving_map: ServingMap) -> None:
    """The old version answers until the new one is there."""
    serving_map.model("m").wanted = frozenset({4})
    assert resolve(serving_map, Route("m")) == 3


async def test_split_routes_what_names_no_version(serving_map: ServingMap) -> None:
    """Arms are labels or version numbers; for one that is not AVAILABLE another stands by."""
    configure(serving_map, ModelConfig(model="m", labels={"stable": 1}, split={"stable": 1}))
    assert resolve(serving_map, Route("m"), b"k") == 1
    assert resolve(serving_map, Route("m", 2), b"k") == 2
    configure(serving_map, ModelConfig(model="m", split={"3": 1}))
    assert resolve(serving_map, Route("m"), b"k") == 3
    configure(serving_map, ModelConfig(model="m", split={"4": 9, "2": 1}))
    assert resolve(serving_map, Route("m"), b"k") == 2
    configure(serving_map, ModelConfig(model="m", split={"4": 1}))
    with pytest.raises(ServableNotReady):
        serving_map.acquire(Route("m"), b"k")


def configure(serving_map: ServingMap, config: ModelConfig) -> None:
    """Route by a configuration as the manager has it done."""
    serving_map.model(config.model).configure(config)
    serving_map.note_change(0)


async def test_keys_and_chance_decide_for_each_request_anew(serving_map: ServingMap) -> None:
    """Also below an arm of an arm: what one request was routed to binds no other."""
    configure(serving_map, ModelConfig(model="m", split={"1": 1, "2": 1}))
    serving_map.model("n").serving = {7: serving("n", 7)}
    configure(serving_map, ModelConfig(model="front", split={"m": 1, "n": 1}))
    for name, versions in (("m", {1, 2}), ("front", {1, 2, 7})):
        keys = [b"user-%d" % number for number in range(100)]
        found = [resolve(serving_map, Route(name), key) for key in keys]
        assert set(found) == versions
        assert [resolve(serving_map, Route(name), key) for key in keys] == found
        assert {resolve(serving_map, Route(name)) for _ in range(200)} == versions


async def test_a_change_counts_for_the_next_request(serving_map: ServingMap) -> None:
    """Whatever was found before: a version that has gone is not lent again."""
    model, routes = serving_map.model("m"), (Route("m"), Route("m", 2), Route("m", None, "stable"))
    assert [resolve(serving_map, route) for route in routes] == [2, 2, 1]
    del model.serving[2]
    model.bound["stable"] = 3
    serving_map.note_change(1)
    assert [resolve(serving_map, route) for route in (routes[0], routes[2])] == [1, 3]
    with pytest.raises(ServableNotFound):
        serving_map.acquire(routes[1])


async def test_idle_only_when_every_loan_is_back(serving_map: ServingMap) -> None:
    """Unloading waits for the loans of that version, and of no other."""
    one = serving_map.acquire(Route("m", 1))
    with one as first, serving_map.acquire(Route("m", 2)):
        with serving_map.acquire(Route("m", 1)):
            pass
        waiting = asyncio.ensure_future(first.serving.wait_idle())
        await asyncio.wait({waiting}, timeout=0)
        assert not waiting.done()
    async with asyncio.timeout(5):
        await waiting


async def test_loan_comes_back_when_the_request_fails(serving_map: ServingMap) -> None:
    """An exception inside the block does not keep the version loaded."""
    with pytest.raises(ZeroDivisionError), serving_map.acquire(Route("m", 1)) as found:
        raise ZeroDivisionError
    async with asyncio.timeout(5):
        await found.serving.wait_idle()
