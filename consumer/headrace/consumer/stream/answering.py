"""Gets the answers for a batch: one loan and one call of the servable per version, not per record.

Knows servables and who lends them; knows no topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple, Protocol

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.choice import Choice, Handle
from headrace.consumer.core.errors import PlanNotReached, RequestError
from headrace.consumer.stream.requests import Kind, Requests
from headrace.schemas.records import Route
from headrace.schemas.topics import RequestHeader

# What goes to a servable at once, so that 1,000 large requests do not make one huge frame.
_MAX_CALLS_BYTES: Final = 8 * 2**20


class Versions(Protocol):
    """Lends the versions that answer: the serving map, or one version for everything.

    **Concurrency:** event loop only.
    """

    def acquire(self, route: Route, affinity: bytes | None = None) -> Handle:
        """Return a loan of the version that `route` means; see `ServingMap.acquire`."""
        ...

    def acquire_as_of(self, min_offset: int, route: Route, affinity: bytes | None = None) -> Handle:
        """Return a loan as of a control record; see `ServingMap.acquire_as_of`."""
        ...

    async def acquire_at(
        self,
        min_offset: int,
        route: Route,
        affinity: bytes | None = None,
        *,
        deadline_seconds: float,
    ) -> Handle:
        """Return a loan as of a control record, once there is one; see `ServingMap.acquire_at`."""
        ...

    def is_split(self, model: str) -> bool:
        """Whether requests with one route may mean several versions, by their affinity."""
        ...


class _Share(NamedTuple):
    """The records of a batch that one version answers, and the loan on it."""

    choice: Choice
    encoding: Encoding
    members: list[int]
    loan: ExitStack


async def answer(requests: Requests, groups: Mapping[Kind, list[int]], versions: Versions) -> None:
    """Fill in the answers to these records, whatever they are.

    Versions are asked at the same time, and each is given back when it has answered. Records that
    wait for a control record hold up no others.

    Cancellation: what has not reached a worker is dropped; every loan is given back.
    """
    shares: list[_Share] = []
    waiting: list[tuple[Kind, int]] = []
    try:
        for kind, members in groups.items():
            free = members
            if requests.min_offsets:
                late = _borrow_as_of(versions, requests, kind, members, shares)
                waiting += [(kind, index) for index in late]
                free = [index for index in members if index not in requests.min_offsets]
            try:
                if free:
                    _borrow(versions, requests, kind, free, shares)
            except RequestError as error:
                _refuse(requests, free, error)
        if len(shares) == 1 and not waiting:
            await _infer(requests, shares[0])
        elif shares or waiting:
            async with asyncio.TaskGroup() as tasks:
                for share in shares:
                    tasks.create_task(_infer(requests, share))
                for kind, index in waiting:
                    tasks.create_task(_wait(versions, requests, kind, index))
    finally:
        for share in shares:
            share.loan.close()


def _borrow(
    versions: Versions,
    requests: Requests,
    kind: Kind,
    members: list[int],
    shares: list[_Share],
) -> None:
    """Borrow the versions that `members` are for; a traffic split may spread them over several."""
    loan, route, encoding = ExitStack(), kind.route, kind.content.encoding
    handle = versions.acquire(route, affinity(requests, members[0]))
    is_open = route.version is None and route.label is None
    if not is_open or not versions.is_split(route.model):
        shares.append(_Share(loan.enter_context(handle), encoding, members, loan))
        return
    by_choice: dict[Choice, _Share] = {}
    for index in members:
        handle = versions.acquire(route, affinity(requests, index))
        _join(by_choice, shares, handle, encoding, index)


def _borrow_as_of(
    versions: Versions,
    requests: Requests,
    kind: Kind,
    members: list[int],
    shares: list[_Share],
) -> list[int]:
    """Borrow versions for the records that want a control record; return those that must wait."""
    late: list[int] = []
    by_choice: dict[Choice, _Share] = {}
    for index in members:
        min_offset = requests.min_offsets.get(index)
        if min_offset is None:
            continue
        requests.waiting.discard(index)
        try:
            handle = versions.acquire_as_of(min_offset, kind.route, affinity(requests, index))
        except PlanNotReached:
            requests.waiting.add(index)
            late.append(index)
        except RequestError as error:
            _refuse(requests, [index], error)
        else:
            _join(by_choice, shares, handle, kind.content.encoding, index)
    return late


def _join(
    by_choice: dict[Choice, _Share],
    shares: list[_Share],
    handle: Handle,
    encoding: Encoding,
    index: int,
) -> None:
    """Add a record to the share of the version that it is for, or begin one."""
    with ExitStack() as borrowed:
        choice = borrowed.enter_context(handle)
        share = by_choice.get(choice)
        if share is None:
            share = by_choice[choice] = _Share(choice, encoding, [], borrowed.pop_all())
            shares.append(share)
        share.members.append(index)


async def _wait(versions: Versions, requests: Requests, kind: Kind, index: int) -> None:
    """Answer one record when the control record that it wants is in force."""
    try:
        handle = await versions.acquire_at(
            requests.min_offsets[index],
            kind.route,
            affinity(requests, index),
            deadline_seconds=requests.deadlines[index],
        )
    except RequestError as error:
        _refuse(requests, [index], error)
        return
    finally:
        requests.waiting.discard(index)
    with ExitStack() as loan:
        choice = loan.enter_context(handle)
        await _infer(requests, _Share(choice, kind.content.encoding, [index], loan.pop_all()))


def affinity(requests: Requests, index: int) -> bytes | None:
    """Return what keeps a caller on one arm of a split: the header, else the record's key."""
    given = requests.header(index, RequestHeader.AFFINITY)
    return requests.messages[index].key if given is None else given


async def _infer(requests: Requests, share: _Share) -> None:
    with share.loan:
        requests.note_choice(share.members, share.choice)
        portions = list(_portions(requests, share.members))
        if len(portions) == 1:
            await _ask(requests, share, portions[0])
            return
        async with asyncio.TaskGroup() as tasks:
            for members in portions:
                tasks.create_task(_ask(requests, share, members))


async def _ask(requests: Requests, share: _Share, members: list[int]) -> None:
    calls = Calls(share.encoding, *requests.calls(members))
    try:
        answers = await share.choice.infer(calls, may_wait=True)
    except RequestError as error:
        _refuse(requests, members, error)
        return
    requests.note_answers(members, answers)


def _portions(requests: Requests, members: list[int]) -> Iterator[list[int]]:
    """Cut the members so that none but a single large request is over the bound of bytes."""
    values = requests.values
    if sum(len(values[index] or b"") for index in members) <= _MAX_CALLS_BYTES:
        yield members
        return
    portion, size = list[int](), 0
    for index in members:
        size += len(values[index] or b"")
        if portion and size > _MAX_CALLS_BYTES:
            yield portion
            portion, size = [], len(values[index] or b"")
        portion.append(index)
    yield portion


def _refuse(requests: Requests, members: Sequence[int], error: RequestError) -> None:
    for index in members:
        requests.refuse(index, Fault(error.code, str(error)))
