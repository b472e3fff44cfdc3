"""The version policy's second half: which transition each version of one model should make next.

A pure function of snapshots, after TensorFlow Serving's availability- and resource-preserving
policies, with two differences: it decides for all versions at once instead of one action at a
time, and it never lets versions that were overtaken while they loaded pile up.

Source: tensorflow_serving/core/{availability,resource}_preserving_policy.cc, 2.20.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from headrace.schemas.records import Preserving, ServableState


class Snapshot(NamedTuple):
    """One version as the policy sees it.

    `is_waiting` says that LOADING has paused between two attempts. `is_leaving` says that it was
    already told to stop.
    """

    version: int
    state: ServableState
    is_wanted: bool
    is_waiting: bool = False
    is_leaving: bool = False


class Action(Enum):
    """What one version is told to do."""

    NOTHING = auto()
    LOAD = auto()
    STOP = auto()


def decide(preserving: Preserving, snapshots: Sequence[Snapshot]) -> list[Action]:
    """Return one action per snapshot, in the same order."""
    if preserving is Preserving.RESOURCE:
        return [_preserving_resources(snapshot, snapshots) for snapshot in snapshots]
    return [_preserving_availability(snapshot, snapshots) for snapshot in snapshots]


def _preserving_availability(one: Snapshot, all_: Sequence[Snapshot]) -> Action:
    """Load what is wanted; stop what is not once that costs no answer."""
    if one.state is ServableState.START:
        return Action.LOAD if one.is_wanted else Action.STOP
    if one.is_wanted or one.is_leaving:
        return Action.NOTHING
    if one.state is ServableState.LOADING and one.is_waiting:
        return Action.STOP
    nothing_is_wanted = not any(other.is_wanted for other in all_)
    # One that was told to stop and is wanted again leaves first, and serves no more meanwhile.
    successor_serves = any(
        other.is_wanted and not other.is_leaving and other.state is ServableState.AVAILABLE
        for other in all_
    )
    if one.state is ServableState.LOADING:
        # It would be overtaken at once, yet it may be the newest that ever gets ready when
        # versions are published faster than they load.
        return Action.STOP if nothing_is_wanted or successor_serves else Action.NOTHING
    if one.state is ServableState.AVAILABLE:
        is_surplus = any(
            not other.is_wanted
            and not other.is_leaving
            and other.state is ServableState.AVAILABLE
            and other.version > one.version
            for other in all_
        )
        same_number_is_coming = any(
            other.is_wanted
            and other.version == one.version
            and other.state in {ServableState.START, ServableState.LOADING}
            for other in all_
        )
        if nothing_is_wanted or is_surplus or (successor_serves and not same_number_is_coming):
            return Action.STOP
    return Action.NOTHING


def _preserving_resources(one: Snapshot, all_: Sequence[Snapshot]) -> Action:
    """Stop what is not wanted first; load only when nothing unwanted holds memory."""
    if not one.is_wanted:
        is_running = one.state in {
            ServableState.START,
            ServableState.LOADING,
            ServableState.AVAILABLE,
        }
        return Action.STOP if is_running and not one.is_leaving else Action.NOTHING
    if one.state is not ServableState.START:
        return Action.NOTHING
    holds_memory = {ServableState.LOADING, ServableState.AVAILABLE, ServableState.UNLOADING}
    must_wait = any(not other.is_wanted and other.state in holds_memory for other in all_)
    return Action.NOTHING if must_wait else Action.LOAD
