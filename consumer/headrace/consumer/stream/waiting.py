"""Batches with records that wait for a control record, so that they hold up as little as can be.

Answers keep the order of requests, so whatever stands behind such a record waits with it. What
stands before it need not: a batch that begins with it is a batch of its own.
"""

from __future__ import annotations

from headrace.consumer.core.errors import PlanNotReached, RequestError
from headrace.consumer.stream.answering import Versions, affinity
from headrace.consumer.stream.content import named_route
from headrace.consumer.stream.requests import Requests
from headrace.schemas.errors import WireError


def parts(requests: Requests, versions: Versions) -> list[Requests]:
    """Return the batches that a batch is to be answered in: most often itself alone.

    Args:
        requests: as they were read, before anything else became of them.
        versions: who knows whether a record has to wait now.
    """
    late = [index for index in requests.min_offsets if _is_late(requests, index, versions)]
    if not late:
        return [requests]
    batches = requests.cut([index for index in late if index])
    for batch in batches[-len(late) :]:
        batch.waiting.add(0)
    return batches


def _is_late(requests: Requests, index: int, versions: Versions) -> bool:
    """Whether a record has to wait; of one whose route cannot be told yet it is taken for true."""
    value = requests.values[index]
    if not value or requests.payloads[index] is not None:
        return False
    headers = dict(requests.messages[index].headers)
    try:
        if index in requests.claims:
            route = named_route(headers)
        else:
            route = requests.contents[index].read_route(value, headers)
        versions.acquire_as_of(requests.min_offsets[index], route, affinity(requests, index))
    except (PlanNotReached, WireError):
        return True
    except RequestError:
        return False
    return False
