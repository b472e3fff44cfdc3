"""One loan and one call per version: who is asked, and what comes back on every path."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import ModelFailed
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream.answering import answer
from headrace.consumer.stream.requests import Requests
from tests.fakes.correspondent import Ask, half, serving_map


@dataclass(frozen=True)
class Record:
    """A record as a consumer hands it out."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = 0
    topic: str = "requests"
    partition: int = 0
    timestamp: int = 0


def requests_of(*asks: Ask) -> Requests:
    records = [Record(ask.payload(), ask.key, ask.headers) for ask in asks]
    return Requests(records, default_deadline_seconds=30)


async def is_free(served: ServingMap, *models: str) -> bool:
    """Return whether no version of these models is lent."""
    try:
        async with asyncio.timeout(0):
            for model in models:
                for serving in served.model(model).serving.values():
                    await serving.wait_idle()
    except TimeoutError:
        return False
    return True


async def test_asks_each_version_once_and_keeps_the_order() -> None:
    """Answers stand where their requests stand, whoever gave them."""
    one, two = half(), half(model="other")
    served = serving_map(one, two)
    requests = requests_of(*(Ask(float(n), ("half", "other")[n % 2]) for n in range(6)))
    await answer(requests, served)
    assert [a and a.code for a in requests.answers] == [Code.OK] * 6
    assert [s and s.id.model for s in requests.servings] == ["half", "other"] * 3
    assert [len(one.calls), len(two.calls)] == [3, 3]
    assert await is_free(served, "half", "other")


async def test_passes_the_deadline_on() -> None:
    """The worker knows until when an answer is wanted."""
    servable = half()
    deadline = b"%d" % (time.time() * 1000 + 9000)
    requests = requests_of(Ask(1.0, headers=[("deadline-ms", deadline)]))
    await answer(requests, serving_map(servable))
    assert servable.calls[0].deadline_seconds == requests.deadlines[0]


async def test_an_unknown_model_answers_for_its_own_records_only() -> None:
    """NOT_FOUND for one group, answers for the other."""
    requests = requests_of(Ask(model="nobody"), Ask(1.0))
    await answer(requests, serving_map(half()))
    assert [a and a.code for a in requests.answers] == [Code.NOT_FOUND, Code.OK]


async def test_what_a_servable_raises_answers_for_its_group() -> None:
    """A request error becomes the answer, with the version that it is about."""
    broken = half()
    broken.raise_all(ModelFailed("boom"))
    served = serving_map(broken)
    requests = requests_of(Ask(1.0))
    await answer(requests, served)
    (found,) = requests.answers
    assert found is not None
    assert (found.code, found.message) == (Code.INTERNAL, "boom")
    assert requests.servings[0] is not None
    assert await is_free(served, "half")


@pytest.mark.parametrize("error", [ZeroDivisionError, None])
async def test_gives_every_loan_back(error: type[Exception] | None) -> None:
    """Neither our own mistakes nor cancellation keep a version from being unloaded."""
    one, two = half(), half(model="other")
    one.hold()
    if error is not None:
        two.raise_all(error())
    served = serving_map(one, two)
    task = asyncio.create_task(answer(requests_of(Ask(), Ask(model="other")), served))
    if error is None:
        await one.wait_inside(1)
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or task.exception() is not None
    assert await is_free(served, "half", "other")


async def test_gives_a_version_back_when_it_has_answered() -> None:
    """A version that was quick is not held by one that is slow."""
    quick, slow = half(), half(model="slow")
    slow.hold()
    served = serving_map(quick, slow)
    task = asyncio.create_task(answer(requests_of(Ask(), Ask(model="slow")), served))
    await slow.wait_inside(1)
    await served.model("half").serving[1].wait_idle()
    assert not await is_free(served, "slow")
    await slow.release()
    await task


async def test_a_split_goes_by_header_then_key() -> None:
    """Requests with equal affinity go to one version, in one call."""
    arms = [half(1), half(2)]
    served = serving_map(*arms)
    served.model("half").split = {"1": 1, "2": 1}
    asks = [Ask(key=b"%d" % (n % 8)) for n in range(80)]
    asks += [Ask(key=b"%d" % n, headers=[("affinity", b"same")]) for n in range(20)]
    requests = requests_of(*asks)
    await answer(requests, served)
    chosen = [s.id.version for s in requests.servings if s]
    for key in range(8):
        assert len({chosen[n] for n in range(80) if n % 8 == key}) == 1
    assert set(chosen[:80]) == {1, 2}
    assert len(set(chosen[80:])) == 1
    assert [a and a.code for a in requests.answers] == [Code.OK] * 100
    assert await is_free(served, "half")
