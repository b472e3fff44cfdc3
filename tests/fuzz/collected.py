"""Hostile requests as a list, for what hypothesis cannot drive: other processes."""

from __future__ import annotations

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from tests.fuzz.bombs import BOMBS
from tests.fuzz.conftest import FUZZ
from tests.fuzz.hostile import hostile

Request = tuple[Encoding, bytes]


def collected(count: int) -> list[Request]:
    """Return so many hostile requests of each encoding, the same in each run, and all bombs."""
    found: list[Request] = list(BOMBS.values())
    for encoding in Encoding:

        @settings(
            FUZZ, max_examples=count, derandomize=True, database=None, phases=[Phase.generate]
        )
        @given(st.tuples(st.just(encoding), hostile(encoding)))
        def collect(request: Request) -> None:
            found.append(request)

        collect()
    return found
