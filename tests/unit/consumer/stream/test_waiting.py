"""Records that wait for a control record, and those around them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.stream import answering
from headrace.consumer.stream.claims import Claims
from headrace.consumer.stream.content import AVRO_TYPE
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.requests import Requests
from headrace.consumer.stream.waiting import parts
from headrace.publisher.claim_store import ClaimStore
from headrace.schemas.claims import CLAIM_CONTENT_TYPE
from headrace.schemas.records import ModelConfig
from tests.fakes.correspondent import Ask, half
from tests.fakes.planned import plan
from tests.fakes.records import Record
from tests.fakes.servable import FakeServable


def at(offset: int | str, **others: str) -> list[tuple[str, bytes]]:
    """Return headers that ask for a control record, and others."""
    named = {"min-control-offset": str(offset), **others}
    return [(name.replace("_", "-"), text.encode()) for name, text in named.items()]


def requests_of(*asks: Ask) -> Requests:
    """Return records as the door reads them, at offsets from 0."""
    records = [
        Record(ask.payload(), key=ask.key, headers=ask.headers, offset=number)
        for number, ask in enumerate(asks)
    ]
    return Requests(records, default_deadline_seconds=30)


def planned(*servables: FakeServable, offset: int) -> ServingMap:
    """Return a map as of a control record in which these versions serve and are wanted."""
    served = ServingMap()
    plan(served, offset, *servables)
    return served


def soon() -> str:
    """Return a deadline that is near."""
    return str(int((time.time() + 0.2) * 1000))


def offsets(batches: list[Requests]) -> list[list[int]]:
    """Return the offsets of the records in each batch."""
    return [[message.offset for message in batch.messages] for batch in batches]


async def answer(requests: Requests, served: ServingMap) -> None:
    """Have everything answered."""
    await answering.answer(requests, requests.groups(), served)


def codes(requests: Requests) -> list[Code]:
    """Return how each record was answered."""
    faults = requests.faults
    assert None not in requests.payloads
    return [
        faults[index].code if index in faults else Code.OK
        for index in range(len(requests.payloads))
    ]


async def test_a_batch_in_which_nothing_waits_stays_whole() -> None:
    """Whether nobody asks for a control record or all of them are in force."""
    served = planned(half(), offset=50)
    plain = requests_of(Ask(), Ask())
    assert parts(plain, served) == [plain]
    met = requests_of(Ask(), Ask(headers=at(50)), Ask(headers=at(0)))
    assert parts(met, served) == [met]
    await answer(met, served)
    assert codes(met) == [Code.OK] * 3


async def test_each_record_that_waits_begins_a_batch() -> None:
    """What stands before it goes without it; what stands behind it goes with it."""
    served = planned(half(), offset=50)
    late = Ask(headers=at(51))
    batches = parts(requests_of(Ask(), Ask(), late, Ask(), late, late), served)
    assert offsets(batches) == [[0, 1], [2, 3], [4], [5]]
    assert [batch.waiting for batch in batches] == [set(), {0}, {0}, {0}]
    assert [batch.next_offset for batch in batches] == [2, 4, 5, 6]
    first = parts(requests_of(late, Ask()), served)
    assert (offsets(first), first[0].waiting) == ([[0, 1]], {0})


async def test_the_last_batch_keeps_the_end_of_the_whole() -> None:
    """Records that were left out behind the last one are committed with it."""
    records = [Record(Ask().payload(), headers=at(51), offset=n) for n in (3, 7)]
    whole = Requests(records, default_deadline_seconds=30, next_offset=20)
    assert [b.next_offset for b in parts(whole, planned(half(), offset=50))] == [4, 20]


@pytest.mark.parametrize(
    ("ask", "is_late"),
    [
        (Ask(headers=at(51)), True),
        (Ask(model="nobody", headers=at(50)), False),
        (Ask(model="nobody", headers=at(51)), True),
        (Ask(value=None, headers=at(51)), False),
        (Ask(value=b"framed or garbage", headers=at(50)), True),
        (Ask(headers=at("x")), False),
        (Ask(headers=at(51, deadline_ms="0")), False),
        (Ask(headers=at(51, content_type=AVRO_TYPE.decode())), True),
        (Ask(value=b"{}", headers=at(51, content_type="application/json", model="half")), True),
        (Ask(value=b"{}", headers=at(50, content_type="application/json", model="half")), False),
        (Ask(value=b"c", headers=at(51, content_type=CLAIM_CONTENT_TYPE, model="half")), True),
        (Ask(value=b"c", headers=at(50, content_type=CLAIM_CONTENT_TYPE, model="half")), False),
        (Ask(value=b"c", headers=at(50, content_type=CLAIM_CONTENT_TYPE)), True),
    ],
)
async def test_who_waits(ask: Ask, is_late: bool) -> None:
    """Whoever has an answer already does not; of whom it cannot be told yet it is assumed."""
    batches = parts(requests_of(Ask(), ask), planned(half(), offset=50))
    assert len(batches) == 1 + is_late


async def test_a_record_that_waits_holds_up_no_other_of_its_batch() -> None:
    """The others have been asked and answered while it waits; then it is, of the new version."""
    old, new = half(1), half(2)
    served = planned(old, offset=50)
    requests = requests_of(Ask(1.0, headers=at(51)), Ask(2.0), Ask(3.0, headers=at(50)))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer(requests, served))
        while len(old.calls) < 2:
            await asyncio.sleep(0)
        assert requests.waiting == {0}
        plan(served, 51, old, new)
        await answering
    assert codes(requests) == [Code.OK] * 3
    assert [choice and choice.id.version for choice in requests.choices] == [2, 1, 1]
    assert not requests.waiting


async def test_time_runs_out_for_one_record_alone() -> None:
    """It is answered UNAVAILABLE, in words; its neighbour is not."""
    requests = requests_of(Ask(1.0, headers=at(51, deadline_ms=soon())), Ask(2.0))
    await answer(requests, planned(half(), offset=50))
    assert codes(requests) == [Code.UNAVAILABLE, Code.OK]
    assert "control offset 51 or later" in requests.faults[0].message


async def test_refusals_as_of_a_control_record_are_each_their_own() -> None:
    """Unknown models and unreadable offsets are refused at once, the others answered."""
    requests = requests_of(
        Ask(model="nobody", headers=at(50)), Ask(headers=at(50)), Ask(headers=at("soon")), Ask()
    )
    await answer(requests, planned(half(), offset=50))
    assert codes(requests) == [Code.NOT_FOUND, Code.OK, Code.INVALID_ARGUMENT, Code.OK]
    assert "min-control-offset is 'soon'" in requests.faults[2].message
    assert not requests.faults[2].is_unreadable


async def test_keys_take_their_arm_as_of_a_control_record() -> None:
    """Header or key decide, and one call serves all of an arm."""
    arms = [half(1), half(2)]
    served = planned(*arms, offset=50)
    split = ModelConfig(model="half", split={"1": 1, "2": 1})
    served.model("half").configure(split)
    keys = [b"%d" % n for n in range(40)]
    plain = requests_of(*(Ask(key=key) for key in keys))
    bound = requests_of(*(Ask(key=key, headers=at(50)) for key in keys))
    for requests in (plain, bound):
        await answer(requests, served)
    versions = [[c and c.id.version for c in r.choices] for r in (plain, bound)]
    assert versions[0] == versions[1]
    assert set(versions[0]) == {1, 2}
    assert [len(arm.sizes) for arm in arms] == [2, 2]


async def test_a_claim_that_waits_takes_no_room_from_others(tmp_path: Path) -> None:
    """Its payload is fetched when its version is there, and is answered by that one."""
    old, new = half(1), half(2)
    served = planned(old, offset=50)
    claim = await ClaimStore(str(tmp_path)).put(Ask(1.0).payload() or b"")
    named = {"content_type": CLAIM_CONTENT_TYPE, "model": "half"}
    late = Ask(value=claim.encode(), headers=at(51, **named))
    free = Ask(value=claim.encode(), headers=at(50, **named))
    requests = requests_of(late, free)
    # Room for one payload.
    intake = Intake(None, Claims((str(tmp_path),), claim.size_bytes), "t", claim.size_bytes)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(intake.follow_claims(requests, served))
        while not old.calls:
            await asyncio.sleep(0.001)
        assert requests.waiting == {0}
        plan(served, 51, old, new)
        await following
    assert codes(requests) == [Code.OK] * 2
    assert [choice and choice.id.version for choice in requests.choices] == [2, 1]


async def test_a_claim_is_refused_when_its_time_is_up(tmp_path: Path) -> None:
    """In the words of any other request; nothing was fetched."""
    headers = at(51, content_type=CLAIM_CONTENT_TYPE, model="half", deadline_ms=soon())
    requests = requests_of(Ask(value=b"not even looked at", headers=headers))
    intake = Intake(None, Claims((str(tmp_path),), 1), "t", 1)
    await intake.follow_claims(requests, planned(half(), offset=50))
    assert codes(requests) == [Code.UNAVAILABLE]
    assert not requests.waiting
