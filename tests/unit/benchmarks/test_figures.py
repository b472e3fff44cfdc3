"""How raw figures become those of the report."""

from __future__ import annotations

import pytest

from benchmarks import profile
from benchmarks.measurement import BenchmarkError, percentile, spread
from benchmarks.swaps_under_load import overlaps

WINDOWS = [(10.0, 11.0), (20.0, 21.0)]
LOOP = "main (consumer/__main__.py:1);BaseEventLoop.run_until_complete (asyncio/base_events.py:1)"
GRPC = "0x1 (grpc/cygrpc.so)"
THREAD = "Thread.run (threading.py:1)"


@pytest.mark.parametrize(
    ("begin", "end", "is_inside"),
    [
        (9.0, 9.9, False),
        (9.0, 10.1, True),
        (10.2, 10.3, True),
        (10.9, 15.0, True),
        (11.1, 19.9, False),
        (9.0, 30.0, True),
        (21.1, 22.0, False),
    ],
)
def test_a_request_is_inside_when_it_was_open_during_a_swap(
    begin: float, end: float, is_inside: bool
) -> None:
    """Also one that was sent before the swap or answered after it."""
    assert overlaps(WINDOWS, begin, end) is is_inside


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    """The nearest rank, so that no figure is made up between two."""
    assert percentile([1, 2, 3, 4], percent) == value


def test_a_spread_of_nothing_counts_nothing() -> None:
    """No samples are no figures, and no error."""
    assert spread([]) == {"count": 0}


def test_busy_time_goes_to_the_innermost_owner() -> None:
    """Waiting and idle threads count nothing; a C frame belongs to whoever called it."""
    shares = profile.sort(
        [
            f"{LOOP};EpollSelector.select (selectors.py:451);epoll_wait (libc.so.6) 50",
            f"{LOOP};predict (consumer/rpc/prediction_service.py:46);{GRPC} 20",
            f"{LOOP};{GRPC};predict (consumer/rpc/prediction_service.py:46);get (libpython.so) 10",
            f"{LOOP};_SelectorSocketTransport.write (asyncio/x.py:1);send (libc.so.6) 10",
            f"{THREAD};{GRPC};write (libc.so.6) 10",
            f"{THREAD};{GRPC};epoll_wait (libc.so.6) 99",
            f"{THREAD};_worker (concurrent/futures/thread.py:1);lock (libc.so.6) 99",
        ]
    )
    assert shares == {
        "event_loop_thread_waits": 56,
        "of_the_busy_time": {
            "grpc (C core, Cython, Python)": 40,
            "Headrace": 20,
            "asyncio, sending to the worker": 20,
            "grpc, its polling thread": 20,
        },
    }


def test_a_profile_of_nothing_is_an_error() -> None:
    """Shares of no samples would be figures of nothing."""
    with pytest.raises(BenchmarkError, match="do nothing"):
        profile.sort([])
