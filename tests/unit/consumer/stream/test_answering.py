"""One loan and one call per version: who is asked, and what comes back on every path."""

import asyncio
import time

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import ModelFailed, QueueFull
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream import answering
from headrace.consumer.stream.requests import Requests
from headrace.schemas.records import ModelConfig
from tests.fakes.correspondent import Ask, half, serving_map
from tests.fakes.records import Record
from tests.fakes.servable import FakeServable, planned_version


async def answer(requests: Requests, served: ServingMap) -> None:
    """Have everything answered that can be routed."""
    await answering.answer(requests, requests.groups(), served)


def requests_of(*asks: Ask) -> Requests:
    records = [Record(ask.payload(), key=ask.key, headers=ask.headers) for ask in asks]
    return Requests(records, default_deadline_seconds=30)


def codes(requests: Requests) -> list[Code | None]:
    """Return how each request was answered; None for those that were not."""
    faults = requests.faults
    return [
        None if payload is None else faults[index].code if index in faults else Code.OK
        for index, payload in enumerate(requests.payloads)
    ]


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
    assert codes(requests) == [Code.OK] * 6
    assert [s and s.id.model for s in requests.choices] == ["half", "other"] * 3
    assert [len(one.calls), len(two.calls)] == [3, 3]
    assert await is_free(served, "half", "other")


async def test_passes_the_deadline_on() -> None:
    """The worker knows until when an answer is wanted."""
    servable = half()
    deadline = b"%d" % (time.time() * 1000 + 9000)
    requests = requests_of(Ask(1.0, headers=[("deadline-ms", deadline)]))
    await answer(requests, serving_map(servable))
    assert servable.deadlines_seconds == requests.deadlines


async def test_an_unknown_model_answers_for_its_own_records_only() -> None:
    """NOT_FOUND for one group, answers for the other."""
    requests = requests_of(Ask(model="nobody"), Ask(1.0))
    await answer(requests, serving_map(half()))
    assert codes(requests) == [Code.NOT_FOUND, Code.OK]


async def test_what_a_servable_raises_answers_for_its_group() -> None:
    """A request error becomes the answer, with the version that it is about."""
    broken = half()
    broken.raise_all(ModelFailed("boom"))
    served = serving_map(broken)
    requests = requests_of(Ask(1.0))
    await answer(requests, served)
    assert (codes(requests), requests.faults[0].message) == ([Code.INTERNAL], "boom")
    assert requests.choices[0] is not None
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
    served.model("half").configure(ModelConfig(model="half", split={"1": 1, "2": 1}))
    asks = [Ask(key=b"%d" % (n % 8)) for n in range(80)]
    asks += [Ask(key=b"%d" % n, headers=[("affinity", b"same")]) for n in range(20)]
    requests = requests_of(*asks)
    await answer(requests, served)
    chosen = [s.id.version for s in requests.choices if s]
    for key in range(8):
        assert len({chosen[n] for n in range(80) if n % 8 == key}) == 1
    assert set(chosen[:80]) == {1, 2}
    assert len(set(chosen[80:])) == 1
    assert codes(requests) == [Code.OK] * 100
    assert await is_free(served, "half")


async def test_an_error_of_one_request_stays_with_it() -> None:
    """Faults come back at the places of their requests, whatever was asked beside them."""
    bad = Ask(value=(Ask(1.0).payload() or b"")[:-3])
    requests = requests_of(Ask(1.0, "other"), bad, Ask(2.0), Ask(3.0, "other"))
    await answer(requests, serving_map(half(), half(model="other")))
    assert codes(requests) == [Code.OK, Code.INVALID_ARGUMENT, Code.OK, Code.OK]
    assert requests.faults[1].is_unreadable


async def test_asks_nothing_for_what_is_answered_already() -> None:
    """A request that was refused when it was read is not asked, nor is one without an address."""
    servable = half()
    requests = requests_of(Ask(1.0, headers=[("deadline-ms", b"0")]), Ask(2.0), Ask(3.0))
    requests.refuse_replies([2], "reply-topic 'x' does not exist")
    await answer(requests, serving_map(servable))
    assert len(servable.calls) == 1
    assert codes(requests) == [Code.DEADLINE_EXCEEDED, Code.OK, Code.OK]
    assert requests.payloads[2] == b""


async def test_large_requests_are_asked_in_portions() -> None:
    """No frame has to carry a whole batch of large requests, and no answer is misplaced."""
    servable = half()
    large = (Ask(1.0).payload() or b"")[:-3] + bytes(3 * 2**20)
    requests = requests_of(Ask(2.0), *[Ask(value=large)] * 7, Ask(4.0))
    await answer(requests, serving_map(servable))
    assert len(servable.calls) == 9
    assert codes(requests) == [Code.OK, *[Code.INVALID_ARGUMENT] * 7, Code.OK]
    assert servable.sizes == [3, 2, 2, 2]


async def test_a_full_queue_is_waited_for() -> None:
    """Kafka has the patience that a gRPC client may not have."""
    narrow = FakeServable(planned_version("half", 1), max_inside=1)
    narrow.hold()
    served = serving_map(narrow)
    first, second = requests_of(Ask(1.0)), requests_of(Ask(2.0))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(answer(first, served))
        await narrow.wait_inside(1)
        tasks.create_task(answer(second, served))
        await asyncio.sleep(0)  # The task has run up to its wait.
        await narrow.release()
    assert codes(first) + codes(second) == [Code.OK] * 2


async def test_a_refusal_of_one_portion_leaves_the_others() -> None:
    """Only the requests that were refused get the refusal."""
    refusing, fine = half(), half(model="fine")
    refusing.raise_all(QueueFull("full"))
    requests = requests_of(Ask(1.0), Ask(2.0, "fine"), Ask(3.0))
    await answer(requests, serving_map(refusing, fine))
    assert codes(requests) == [Code.RESOURCE_EXHAUSTED, Code.OK, Code.RESOURCE_EXHAUSTED]
