"""Whatever the bytes, a decoder returns a request or says what is wrong, at a bounded cost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.request import Alike, Format, Refused
from headrace.consumer.workers.process import formats_of
from tests.fuzz.bombs import BOMBS
from tests.fuzz.bounds import bounded, counted
from tests.fuzz.conftest import FUZZ
from tests.fuzz.everything import Everything
from tests.fuzz.hostile import STRUCTURED, hostile

BOMB_ALLOWANCE: Final = 200 * 2**20
"""A tensor may stand for 64 MiB that it does not carry, and is a copy or two on the way."""

each_encoding = pytest.mark.parametrize("encoding", Encoding, ids=lambda each: each.name.lower())


def make_formats() -> dict[Encoding, Format]:
    """Return what a worker reads with."""
    return formats_of(Everything(), "m", 1)


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    with counted():
        yield


def check(decoded: Sequence[Alike | Refused], count: int) -> None:
    """Hold what was decoded to what `Format.decode` promises."""
    positions: list[int] = []
    for each in decoded:
        if isinstance(each, Refused):
            assert isinstance(each.error, InvalidRequest)
            # It travels to the node and on, as UTF-8.
            assert str(each.error).encode()
            positions.append(each.position)
            continue
        positions += each.positions
        each.request.signature.encode()
        hash(each.request.style)
        for alias, array in each.request.inputs.items():
            alias.encode()
            assert isinstance(array, np.ndarray)
            assert len(array) == len(each.positions)
    assert sorted(positions) == list(range(count))


def test_every_encoding_is_fuzzed() -> None:
    """A worker has a format for each encoding, and each has its hostile requests."""
    assert make_formats().keys() == STRUCTURED.keys() == set(Encoding)


@each_encoding
@FUZZ
@given(data=st.data())
def test_any_payloads_are_requests_or_refused(encoding: Encoding, data: st.DataObject) -> None:
    """Each payload of a frame becomes a request or an InvalidRequest, and costs what it may."""
    payloads = data.draw(st.lists(hostile(encoding), min_size=1, max_size=5))
    # Some of equal form, which are read by columns.
    payloads += payloads[:1] * data.draw(st.sampled_from([0, 0, 4]))
    codec = make_formats()[encoding]
    size_bytes = sum(map(len, payloads))
    check(bounded(lambda: list(codec.decode(payloads)), size_bytes), len(payloads))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name: str) -> None:
    """A few bytes cannot claim more memory than a message that carries as much."""
    encoding, payload = BOMBS[name]
    codec = make_formats()[encoding]
    decoded = bounded(lambda: list(codec.decode([payload] * 4)), 4 * len(payload), BOMB_ALLOWANCE)
    check(decoded, 4)
    assert all(isinstance(each, Refused) for each in decoded)
    assert tracemalloc.is_tracing()
