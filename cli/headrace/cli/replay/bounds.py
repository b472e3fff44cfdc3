"""One end of a range of records, as a person writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from headrace.cli.moments import parse_moment
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.ranges import Bound, Edge, Moment

_OFFSET: Final = re.compile(r"offset:(\d{1,18})")
_PLACE: Final = re.compile(r"(\d{1,9}):(\d{1,18})")


def parse_bound(option: str, texts: Sequence[str], default: Edge) -> Bound:
    """Return the bound that an option gives, once or several times.

    Args:
        option: the option, for the message.
        texts: `beginning`, `end`, `offset:1234`, a duration before now, or an ISO time; or any
            number of `PARTITION:OFFSET`.
        default: what it is when it is not given.

    Raises:
        InvalidArgument: it is none of these, or several that exclude each other.
    """
    if not texts:
        return default
    places = [_PLACE.fullmatch(text.strip()) for text in texts]
    found = {int(place[1]): int(place[2]) for place in places if place}
    if found and len(found) == len(texts):
        return found
    if len(texts) > 1:
        raise InvalidArgument(
            f"{option} is given {len(texts)} times: only PARTITION:OFFSET can be repeated, with "
            "another partition each time and nothing else beside it"
        )
    text = texts[0].strip()
    if text in {edge.value for edge in Edge}:
        return Edge(text)
    if match := _OFFSET.fullmatch(text):
        return int(match[1])
    try:
        return Moment(parse_moment(option, text))
    except InvalidArgument as error:
        raise InvalidArgument(
            f"{option} {text!r} is no end of a range: give an ISO time (2026-11-24T10:00:00Z), a "
            "duration before now (2h), offset:1234, PARTITION:OFFSET, beginning or end"
        ) from error
