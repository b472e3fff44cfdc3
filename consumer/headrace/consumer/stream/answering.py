"""Gets the answers for a batch: one loan and one call of the servable per version, not per record.

Knows the serving map and servables; knows no topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from headrace.consumer.core.calls import Answer, Call, Encoding
from headrace.consumer.core.errors import RequestError
from headrace.consumer.core.serving_map import Serving, ServingMap
from headrace.consumer.stream.requests import Requests
from headrace.schemas.records import Route
from headrace.schemas.topics import RequestHeader


class _Share(NamedTuple):
    """The records of a batch that one version answers, and the loan on it."""

    serving: Serving
    members: list[int]
    loan: ExitStack


async def answer(requests: Requests, serving_map: ServingMap) -> None:
    """Fill in the answers that are missing, whatever they are.

    Versions are asked at the same time, and each is given back when it has answered.

    Cancellation: what has not reached a worker is dropped; every loan is given back.
    """
    shares: list[_Share] = []
    try:
        for route, members in requests.groups.items():
            if not members:
                continue
            try:
                _borrow(serving_map, requests, route, members, shares)
            except RequestError as error:
                _refuse(requests, members, error)
        if len(shares) == 1:
            await _infer(requests, shares[0])
        elif shares:
            async with asyncio.TaskGroup() as tasks:
                for share in shares:
                    tasks.create_task(_infer(requests, share))
    finally:
        for share in shares:
            share.loan.close()


def _borrow(
    serving_map: ServingMap,
    requests: Requests,
    route: Route,
    members: list[int],
    shares: list[_Share],
) -> None:
    """Borrow the versions that `members` are for; a traffic split may spread them over several."""
    loan = ExitStack()
    handle = serving_map.acquire(route, _affinity(requests, members[0]))
    is_open = route.version is None and route.label is None
    if not is_open or not serving_map.model(route.model).split:
        shares.append(_Share(loan.enter_context(handle), members, loan))
        return
    by_version: dict[int, _Share] = {}
    for index in members:
        handle = serving_map.acquire(route, _affinity(requests, index))
        with ExitStack() as borrowed:
            serving = borrowed.enter_context(handle)
            share = by_version.get(serving.id.version)
            if share is None:
                share = by_version[serving.id.version] = _Share(serving, [], borrowed.pop_all())
                shares.append(share)
            share.members.append(index)


def _affinity(requests: Requests, index: int) -> bytes | None:
    """Return what keeps a caller on one arm of a split: the header, else the record's key."""
    given = requests.headers[index].get(RequestHeader.AFFINITY)
    return requests.messages[index].key if given is None else given


async def _infer(requests: Requests, share: _Share) -> None:
    serving, members, loan = share
    messages, deadlines = requests.messages, requests.deadlines
    calls = [Call(Encoding.AVRO, messages[i].value or b"", deadlines[i]) for i in members]
    with loan:
        try:
            answers: Sequence[Answer] = await serving.servable.infer(calls, may_wait=True)
        except RequestError as error:
            _refuse(requests, members, error)
            answers = ()
    for index in members:
        requests.servings[index] = serving
    if answers:
        for index, found in zip(members, answers, strict=True):
            requests.answers[index] = found


def _refuse(requests: Requests, members: Sequence[int], error: RequestError) -> None:
    refusal = Answer(error.code, message=str(error))
    for index in members:
        requests.answers[index] = refusal
