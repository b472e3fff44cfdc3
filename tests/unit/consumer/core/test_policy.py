"""The version policy's table, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.policy import Action, Snapshot, decide
from headrace.schemas.records import Preserving, ServableState

S = ServableState
A = Action


def old(version: int, state: S, *, waiting: bool = False, leaving: bool = False) -> Snapshot:
    """Return a version that is not wanted any more."""
    return Snapshot(version, state, is_wanted=False, is_waiting=waiting, is_leaving=leaving)


def new(version: int, state: S) -> Snapshot:
    """Return a wanted version."""
    return Snapshot(version, state, is_wanted=True)


@pytest.mark.parametrize(
    ("snapshots", "actions"),
    [
        pytest.param([new(1, S.START)], [A.LOAD], id="loads-what-is-wanted"),
        pytest.param([old(1, S.START)], [A.STOP], id="drops-what-never-began"),
        pytest.param([new(1, S.AVAILABLE)], [A.NOTHING], id="keeps-what-serves"),
        pytest.param(
            [old(1, S.AVAILABLE), new(2, S.START)], [A.NOTHING, A.LOAD], id="loads-before-unload"
        ),
        pytest.param(
            [old(1, S.AVAILABLE), new(2, S.LOADING)], [A.NOTHING, A.NOTHING], id="waits-for-load"
        ),
        pytest.param(
            [old(1, S.AVAILABLE), new(2, S.AVAILABLE)], [A.STOP, A.NOTHING], id="then-unloads"
        ),
        pytest.param(
            [old(1, S.AVAILABLE), new(2, S.END)], [A.NOTHING, A.NOTHING], id="failed-keeps-old"
        ),
        pytest.param([old(1, S.AVAILABLE)], [A.STOP], id="retired-unloads"),
        pytest.param(
            [old(1, S.AVAILABLE), old(2, S.AVAILABLE), new(3, S.LOADING)],
            [A.STOP, A.NOTHING, A.NOTHING],
            id="surplus-old-unloads",
        ),
        pytest.param(
            [old(1, S.AVAILABLE), old(2, S.LOADING), new(3, S.START)],
            [A.NOTHING, A.NOTHING, A.LOAD],
            id="overtaken-load-may-finish",
        ),
        pytest.param(
            [old(2, S.LOADING), new(3, S.AVAILABLE)], [A.STOP, A.NOTHING], id="useless-load-stops"
        ),
        pytest.param([old(2, S.LOADING)], [A.STOP], id="retired-load-stops"),
        pytest.param(
            [old(2, S.LOADING, waiting=True), new(3, S.LOADING)],
            [A.STOP, A.NOTHING],
            id="overtaken-retry-stops",
        ),
        pytest.param(
            [old(3, S.AVAILABLE), new(3, S.LOADING), new(2, S.AVAILABLE)],
            [A.NOTHING, A.NOTHING, A.NOTHING],
            id="same-number-anew-loads-first",
        ),
        pytest.param(
            [old(3, S.AVAILABLE), new(3, S.AVAILABLE)], [A.STOP, A.NOTHING], id="then-replaces"
        ),
        pytest.param([old(1, S.UNLOADING, leaving=True)], [A.NOTHING], id="leaves-the-leaving"),
        pytest.param(
            [old(3, S.AVAILABLE), Snapshot(1, S.AVAILABLE, is_wanted=True, is_leaving=True)],
            [A.NOTHING, A.NOTHING],
            id="one-that-leaves-is-no-successor",
        ),
    ],
)
def test_availability_preserving(snapshots: list[Snapshot], actions: list[Action]) -> None:
    """A version goes only when that costs no answer."""
    assert decide(Preserving.AVAILABILITY, snapshots) == actions


@pytest.mark.parametrize(
    ("snapshots", "actions"),
    [
        pytest.param([new(1, S.START)], [A.LOAD], id="loads-into-free-memory"),
        pytest.param(
            [old(1, S.AVAILABLE), new(2, S.START)], [A.STOP, A.NOTHING], id="unloads-first"
        ),
        pytest.param(
            [old(1, S.UNLOADING, leaving=True), new(2, S.START)],
            [A.NOTHING, A.NOTHING],
            id="waits-for-unload",
        ),
        pytest.param([old(1, S.END), new(2, S.START)], [A.NOTHING, A.LOAD], id="then-loads"),
        pytest.param([old(1, S.LOADING), new(2, S.START)], [A.STOP, A.NOTHING], id="stops-load"),
        pytest.param([new(1, S.AVAILABLE), new(2, S.START)], [A.NOTHING, A.LOAD], id="both-wanted"),
    ],
)
def test_resource_preserving(snapshots: list[Snapshot], actions: list[Action]) -> None:
    """Two generations never hold memory at once."""
    assert decide(Preserving.RESOURCE, snapshots) == actions


_snapshots = st.lists(
    st.builds(Snapshot, st.integers(1, 5), st.sampled_from(list(S)), st.booleans(), st.booleans()),
    max_size=6,
    unique_by=lambda s: (s.version, s.is_wanted),
)


@given(_snapshots)
def test_availability_preserving_never_stops_the_last_answer(snapshots: list[Snapshot]) -> None:
    """While something is wanted, what serves after the actions is not less than one version."""
    actions = decide(Preserving.AVAILABILITY, snapshots)
    serving = [s for s in snapshots if s.state is S.AVAILABLE]
    stays = [
        s
        for s, action in zip(snapshots, actions, strict=True)
        if s.state is S.AVAILABLE and action is not A.STOP
    ]
    if serving and any(s.is_wanted for s in snapshots):
        assert stays


@given(_snapshots, st.sampled_from(list(Preserving)))
def test_wanted_versions_are_never_stopped(
    snapshots: list[Snapshot], preserving: Preserving
) -> None:
    """No policy tells a wanted version to stop."""
    for snapshot, action in zip(snapshots, decide(preserving, snapshots), strict=True):
        assert not (snapshot.is_wanted and action is A.STOP)
