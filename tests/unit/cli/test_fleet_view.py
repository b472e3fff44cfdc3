"""The fleet's rows and table say what the status topic says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from headrace.cli import fleet_view
from headrace.cli.fleet_view import FleetRow
from headrace.publisher.fleet import Fleet, heartbeat_key, status_key
from headrace.publisher.history import ControlEntry
from headrace.schemas.records import (
    Lifecycle,
    ModelVersion,
    NodeStatus,
    ServableState,
    ServableStatus,
    version_key,
)

NOW_MS = 1_000_000


def beat(fleet: Fleet, node: str, *, seen_ms: int = NOW_MS, errors: Sequence[str] = ()) -> None:
    """Let a node send a heartbeat."""
    status = NodeStatus(
        node=node,
        incarnation=1,
        at_ms=seen_ms,
        control_offset=7,
        is_ready=True,
        grpc_endpoint="h:8500",
        control_errors=errors,
    )
    fleet.apply(heartbeat_key(node), status, seen_ms)


def report(
    fleet: Fleet, node: str, version: int, state: ServableState, error: str | None = None
) -> None:
    """Let a node report a state of one version of the model `m`."""
    servable = ServableStatus(
        model="m", version=version, state=state, control_offset=version, error=error
    )
    status = NodeStatus(node=node, incarnation=1, at_ms=NOW_MS, control_offset=7, servable=servable)
    fleet.apply(status_key(node, "m", version), status, NOW_MS)


def published(model: str, version: int, lifecycle: Lifecycle, offset: int) -> ControlEntry:
    """Return a record of the control log."""
    record = ModelVersion(
        model=model, version=version, uri="u", digest="d", size_bytes=1, lifecycle=lifecycle
    )
    return ControlEntry(
        offset=offset, timestamp_ms=NOW_MS, key=version_key(model, version), record=record
    )


def shown(fleet: Fleet, rows: Sequence[FleetRow]) -> str:
    """Return the text that a pipe gets."""
    console = Console(width=300)
    with console.capture() as capture:
        console.print(fleet_view.render(fleet, rows, NOW_MS))
    return capture.get()


def test_lists_every_version_on_every_node_newest_first() -> None:
    """The rows carry state, error, offset and whether the node is alive."""
    fleet = Fleet()
    beat(fleet, "a")
    beat(fleet, "b", seen_ms=NOW_MS - 60_000)
    report(fleet, "a", 1, ServableState.AVAILABLE)
    report(fleet, "a", 2, ServableState.END, "no such file")
    report(fleet, "b", 1, ServableState.AVAILABLE)
    found = fleet_view.rows(fleet, NOW_MS)
    assert [(row.version, row.node, row.state, row.node_is_live) for row in found] == [
        (2, "a", ServableState.END, True),
        (1, "a", ServableState.AVAILABLE, True),
        (1, "b", ServableState.AVAILABLE, False),
    ]
    assert found[0].as_json() == {
        "model": "m",
        "version": 2,
        "state": "END",
        "node": "a",
        "error": "no such file",
        "control_offset": 2,
        "node_is_live": True,
    }


def test_keeps_to_the_model_that_was_asked_for() -> None:
    """Another model's versions are left out."""
    fleet = Fleet()
    report(fleet, "a", 1, ServableState.AVAILABLE)
    assert fleet_view.rows(fleet, NOW_MS, "other") == []
    assert len(fleet_view.rows(fleet, NOW_MS, "m")) == 1


def test_adds_published_versions_that_no_node_speaks_of() -> None:
    """They have neither state nor node; retired and listed ones are not among them."""
    fleet = Fleet()
    report(fleet, "a", 2, ServableState.AVAILABLE)
    entries = [
        published("m", 1, Lifecycle.PUBLISHED, 10),
        published("m", 2, Lifecycle.PUBLISHED, 11),
        published("m", 3, Lifecycle.PUBLISHED, 12),
        published("m", 3, Lifecycle.RETIRED, 13),
        published("n", 1, Lifecycle.PUBLISHED, 14),
    ]
    rows = fleet_view.rows(fleet, NOW_MS)
    idle = fleet_view.idle(entries, rows, "m")
    assert idle == [FleetRow(model="m", version=1, control_offset=10)]
    assert idle[0].as_json()["state"] is None


def test_shows_a_column_per_node_while_they_are_few() -> None:
    """With two nodes a version is one line; errors name their node."""
    fleet = Fleet()
    beat(fleet, "a")
    beat(fleet, "b")
    report(fleet, "a", 1, ServableState.AVAILABLE)
    report(fleet, "b", 1, ServableState.END, "no such file")
    text = shown(fleet, fleet_view.rows(fleet, NOW_MS))
    head, line = text.splitlines()[:2]
    assert head.split() == ["model", "version", "a", "b", "error"]
    assert line.split() == ["m", "1", "AVAILABLE", "END", "b:", "no", "such", "file"]


def test_shows_a_line_per_node_when_they_are_many() -> None:
    """Five nodes do not fit beside each other."""
    fleet = Fleet()
    for node in "abcde":
        beat(fleet, node)
        report(fleet, node, 1, ServableState.AVAILABLE)
    text = shown(fleet, fleet_view.rows(fleet, NOW_MS))
    assert text.splitlines()[0].split() == ["model", "version", "node", "state", "error"]
    assert text.count("AVAILABLE") == 5


def test_says_which_nodes_are_live_lost_or_complain() -> None:
    """A lost node says for how long; what a node could not apply is shown."""
    fleet = Fleet()
    beat(fleet, "a", errors=["offset 5: not a record"])
    beat(fleet, "b", seen_ms=NOW_MS - 60_000)
    text = shown(fleet, [])
    assert "no versions: publish one" in text
    assert "node a: live, ready, at control offset 7, gRPC h:8500" in text
    assert "node b: lost, silent for 60 s" in text
    assert "node a could not apply: offset 5: not a record" in text


def test_says_when_there_are_no_nodes() -> None:
    """An empty fleet is one clear line."""
    assert shown(Fleet(), []).startswith("no nodes: none has written to the status topic")
