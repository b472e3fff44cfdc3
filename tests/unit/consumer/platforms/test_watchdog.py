"""Runs that are ended at their deadline, and those that are not."""

from __future__ import annotations

import threading

import pytest

from headrace.consumer.platforms.watchdog import Watchdog


def test_what_is_late_is_ended() -> None:
    """Also when the watchdog sleeps until a later deadline."""
    watchdog, ended = Watchdog(), threading.Event()
    for timeout in (3600.0, None):
        with watchdog.watching(timeout, ended.set):
            pass
    with watchdog.watching(0.01, ended.set):
        assert ended.wait(20)


def test_what_is_in_time_is_left_alone() -> None:
    """Its deadline passes after it has ended, while the next one runs."""
    watchdog, first, second = Watchdog(), threading.Event(), threading.Event()
    with watchdog.watching(0.05, first.set):
        pass
    with watchdog.watching(0.1, second.set):
        assert second.wait(20)
    assert not first.is_set()


def test_an_error_of_the_run_goes_through() -> None:
    """And ends the watch."""
    watchdog, ended, later = Watchdog(), threading.Event(), threading.Event()
    with pytest.raises(ValueError, match="mine"), watchdog.watching(0.05, ended.set):
        raise ValueError("mine")
    with watchdog.watching(0.1, later.set):
        assert later.wait(20)
    assert not ended.is_set()
