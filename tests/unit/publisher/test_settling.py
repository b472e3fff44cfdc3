"""The rules of `wait`, row by row."""

import pytest

from headrace.publisher.errors import NotWanted, RefusedByNode
from headrace.publisher.fleet import Fleet
from headrace.publisher.settling import (
    Event,
    Verdict,
    Wait,
    Wanted,
    behind,
    configured,
    judge,
    published,
    retired,
    unsettled,
)
from headrace.schemas.records import NodeStatus, ServableState, ServableStatus

EVENT = Event(model="ranker", version=3, offset=10, policy="latest:1")
S = ServableState

Row = tuple[ServableState, int, str | None] | None


def add(fleet: Fleet, node: str, applied: int, row: Row) -> None:
    """Make a node say that it applied an offset, and the state of version 3."""
    if row is not None:
        state, offset, error = row
        servable = ServableStatus(
            model="ranker", version=3, state=state, control_offset=offset, error=error
        )
        status = NodeStatus(
            node=node, incarnation=1, at_ms=0, control_offset=offset, servable=servable
        )
        fleet.apply(b"key", status, 0)
    beat = NodeStatus(node=node, incarnation=1, at_ms=0, control_offset=applied)
    fleet.apply(b"key", beat, 0)


def fleet_of(**nodes: tuple[int, Row]) -> Fleet:
    """Return a fleet of nodes, each with the offset it applied and the state of version 3."""
    fleet = Fleet()
    for node, (applied, row) in nodes.items():
        add(fleet, node, applied, row)
    return fleet


@pytest.mark.parametrize(
    ("applied", "row", "verdict"),
    [
        # Before the event has reached the node, what it says is about an earlier event.
        (9, None, Verdict.PENDING),
        (9, (S.AVAILABLE, 4, None), Verdict.PENDING),
        (9, (S.END, 4, "old failure"), Verdict.PENDING),
        # A status with the event's offset is the answer, even before the heartbeat.
        (9, (S.START, 10, None), Verdict.PENDING),
        (9, (S.LOADING, 10, None), Verdict.PENDING),
        (9, (S.LOADING, 10, "attempt failed"), Verdict.PENDING),
        (9, (S.AVAILABLE, 10, None), Verdict.SERVES),
        (9, (S.AVAILABLE, 11, None), Verdict.SERVES),
        (9, (S.END, 10, "no such op"), Verdict.REFUSES),
        (9, (S.UNLOADING, 10, None), Verdict.PENDING),
        (9, (S.END, 10, None), Verdict.UNWANTED),
        # After the heartbeat, the last word on the version is the answer.
        (10, None, Verdict.UNWANTED),
        (10, (S.LOADING, 10, None), Verdict.PENDING),
        (12, (S.AVAILABLE, 10, None), Verdict.SERVES),
        (12, (S.END, 10, "no such op"), Verdict.REFUSES),
        (12, (S.UNLOADING, 10, None), Verdict.UNWANTED),
        (12, (S.END, 10, None), Verdict.UNWANTED),
        # The same bytes published again: the node serves them already, and goes on.
        (10, (S.AVAILABLE, 4, None), Verdict.SERVES),
        (10, (S.LOADING, 4, None), Verdict.PENDING),
        # Unloaded earlier, and the event did not bring it back.
        (10, (S.END, 4, None), Verdict.UNWANTED),
        (10, (S.END, 4, "old failure"), Verdict.UNWANTED),
    ],
)
def test_verdict_of_one_node(applied: int, row: Row, verdict: Verdict) -> None:
    """What one node makes of the event, from what it said last."""
    assert judge(fleet_of(a=(applied, row)).nodes["a"], EVENT).verdict is verdict


SERVING = (10, (S.AVAILABLE, 10, None))
LOADING = (9, (S.LOADING, 10, "attempt failed"))
FAILED = (10, (S.END, 10, "no such op"))
UNWANTED = (10, None)
BEHIND = (9, None)


@pytest.mark.parametrize(
    ("wait", "nodes", "served_by"),
    [
        ("any", {}, None),
        ("fleet", {}, None),
        ("any", {"a": LOADING}, None),
        ("any", {"a": SERVING, "b": LOADING}, ["a"]),
        ("any", {"a": FAILED, "b": SERVING}, ["b"]),
        ("any", {"a": FAILED, "b": LOADING}, None),
        ("any", {"a": UNWANTED, "b": BEHIND}, None),
        ("fleet", {"a": SERVING}, ["a"]),
        ("fleet", {"a": SERVING, "b": LOADING}, None),
        ("fleet", {"a": SERVING, "b": BEHIND}, None),
        ("fleet", {"a": SERVING, "b": SERVING}, ["a", "b"]),
    ],
)
def test_settled_when_enough_nodes_serve(
    wait: Wait, nodes: dict[str, tuple[int, Row]], served_by: list[str] | None
) -> None:
    """`any` needs one node, `fleet` all; nobody at all is not all."""
    assert published(fleet_of(**nodes), EVENT, wait, now_ms=0) == served_by


@pytest.mark.parametrize(
    ("wait", "nodes", "error", "words"),
    [
        ("fleet", {"a": SERVING, "b": FAILED}, RefusedByNode, r"node b could not load .*no such"),
        ("fleet", {"a": UNWANTED, "b": LOADING}, NotWanted, r"node a .*policy \(latest:1\) does"),
        ("fleet", {"a": UNWANTED, "b": FAILED}, RefusedByNode, r"node b \(and 1 more\)"),
        ("any", {"a": FAILED}, RefusedByNode, "no such op"),
        ("any", {"a": UNWANTED, "b": FAILED}, RefusedByNode, r"node b \(and 1 more\)"),
        ("any", {"a": UNWANTED, "b": UNWANTED}, NotWanted, r"node a \(and 1 more\)"),
    ],
)
def test_fails_when_nodes_will_not_serve(
    wait: Wait, nodes: dict[str, tuple[int, Row]], error: type[Exception], words: str
) -> None:
    """`fleet` fails with the first node, `any` with the last; a failed load outweighs a policy."""
    with pytest.raises(error, match=words):
        published(fleet_of(**nodes), EVENT, wait, now_ms=0)


def test_a_pinned_model_is_to_be_let_go() -> None:
    """Where a higher number would change nothing, the words do not advise it."""
    pinned = Event(model="ranker", version=3, offset=10, policy="specific:2")
    with pytest.raises(NotWanted, match=r"specific:2.*let new versions in with 'headrace unpin"):
        published(fleet_of(a=UNWANTED), pinned, "fleet", now_ms=0)


def test_dead_nodes_do_not_count() -> None:
    """A node that went silent neither serves nor holds the wait up."""
    fleet = fleet_of(dead=BEHIND)
    beat = NodeStatus(node="a", incarnation=1, at_ms=0, control_offset=10)
    servable = ServableStatus(model="ranker", version=3, state=S.AVAILABLE, control_offset=10)
    status = NodeStatus(node="a", incarnation=1, at_ms=0, control_offset=10, servable=servable)
    for record in (beat, status):
        fleet.apply(b"key", record, 60_000)
    assert published(fleet, EVENT, "fleet", now_ms=60_000) == ["a"]


def test_unsettled_names_each_node_that_is_missing() -> None:
    """The words of a timeout say who is where."""
    words = unsettled(fleet_of(a=SERVING, b=LOADING, c=BEHIND), EVENT, now_ms=0)
    assert words == (
        "node b: LOADING (attempt 1, last error: attempt failed); "
        "node c: has not applied the event yet (it is at offset 9)"
    )


@pytest.mark.parametrize(
    ("nodes", "released_by"),
    [
        ({}, None),
        ({"a": (10, None)}, ["a"]),
        ({"a": (10, (S.END, 4, None))}, ["a"]),
        ({"a": (10, (S.END, 4, "failed long ago"))}, ["a"]),
        ({"a": (9, None)}, None),
        ({"a": (10, (S.UNLOADING, 4, None))}, None),
        ({"a": (10, (S.AVAILABLE, 4, None))}, None),
        ({"a": (10, None), "b": (9, None)}, None),
        ({"a": (10, None), "b": (10, None)}, ["a", "b"]),
    ],
)
def test_retired_when_no_node_holds_the_version(
    nodes: dict[str, tuple[int, Row]], released_by: list[str] | None
) -> None:
    """Every live node must have applied the event and ended the version, or never had it."""
    assert retired(fleet_of(**nodes), EVENT, now_ms=0) == released_by


CONFIGURED = Wanted(model="ranker", versions=(3,), offset=10)


@pytest.mark.parametrize(
    ("nodes", "applied_by"),
    [
        ({}, None),
        ({"a": (10, (S.AVAILABLE, 4, None))}, ["a"]),
        ({"a": (9, (S.AVAILABLE, 4, None))}, None),
        ({"a": (9, (S.END, 4, "failed long ago"))}, None),
        ({"a": (10, (S.LOADING, 4, "attempt failed"))}, None),
        # What was being let go comes back once it has ended.
        ({"a": (10, (S.UNLOADING, 4, None))}, None),
        ({"a": (10, (S.END, 4, None))}, None),
        ({"a": (10, None)}, None),
        ({"a": (10, (S.AVAILABLE, 4, None)), "b": (9, (S.AVAILABLE, 4, None))}, None),
        ({"a": (10, (S.AVAILABLE, 4, None)), "b": (11, (S.AVAILABLE, 4, None))}, ["a", "b"]),
    ],
)
def test_configured_when_every_node_follows_and_serves(
    nodes: dict[str, tuple[int, Row]], applied_by: list[str] | None
) -> None:
    """Each live node has applied the event and has all wanted versions AVAILABLE."""
    assert configured(fleet_of(**nodes), CONFIGURED, now_ms=0) == applied_by


def test_an_alias_is_configured_when_every_node_has_applied_it() -> None:
    """It has no versions to wait for."""
    alias = Wanted(model="alias", versions=(), offset=10)
    assert configured(fleet_of(a=(10, None), b=(9, None)), alias, now_ms=0) is None
    assert configured(fleet_of(a=(10, None), b=(10, None)), alias, now_ms=0) == ["a", "b"]


def test_a_configuration_fails_when_a_node_cannot_load_what_it_wants() -> None:
    """Also when it could not long ago: only a new event makes a node try again."""
    with pytest.raises(RefusedByNode, match=r"node b could not load version 3 .*no such op"):
        configured(fleet_of(a=SERVING, b=(10, (S.END, 4, "no such op"))), CONFIGURED, now_ms=0)


def test_behind_names_each_node_and_version_that_is_missing() -> None:
    """The words of a timeout say who is where."""
    fleet = fleet_of(a=SERVING, b=(9, None), c=(10, (S.UNLOADING, 4, None)), d=(10, None))
    assert behind(fleet, CONFIGURED, now_ms=0) == (
        "node b: has not applied the event yet (it is at offset 9); "
        "node c: version 3 is UNLOADING; node d: version 3 is not there"
    )
