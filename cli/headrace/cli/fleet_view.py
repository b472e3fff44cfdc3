"""The fleet as an operator reads it: one row per model, version and node, as a table or as JSON.

Pure: takes the folded status topic, the control log and a time, and returns rows or text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.publisher.fleet import Fleet, NodeView
from headrace.publisher.history import ControlEntry, latest
from headrace.schemas.records import Lifecycle, ModelVersion, ServableState

_MAX_NODE_COLUMNS: Final = 4
_STYLES: Final = {
    ServableState.AVAILABLE: "green",
    ServableState.END: "red",
    ServableState.UNLOADING: "dim",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """One version on one node; without a node, a version that no node has heard of or wants."""

    model: str
    version: int
    state: ServableState | None = None
    node: str | None = None
    error: str | None = None
    control_offset: int
    node_is_live: bool | None = None

    def as_json(self) -> dict[str, str | int | bool | None]:
        """Return the row as `headrace models --json` prints it."""
        return {
            "model": self.model,
            "version": self.version,
            "state": None if self.state is None else self.state.value,
            "node": self.node,
            "error": self.error,
            "control_offset": self.control_offset,
            "node_is_live": self.node_is_live,
        }


def rows(fleet: Fleet, now_ms: int, model: str | None = None) -> list[FleetRow]:
    """Return what every node says of every version, the newest version of each model first."""
    found = [
        FleetRow(
            model=status.model,
            version=status.version,
            state=status.state,
            node=node.name,
            error=status.error,
            control_offset=status.control_offset,
            node_is_live=node.is_live(now_ms),
        )
        for node in fleet.nodes.values()
        for status in node.servables.values()
        if model in (None, status.model)
    ]
    return sorted(found, key=_order)


def idle(
    entries: Sequence[ControlEntry], shown: Iterable[FleetRow], model: str | None = None
) -> list[FleetRow]:
    """Return a row without a node for each published version that is not among the rows `shown`."""
    known = {(row.model, row.version) for row in shown}
    found = [
        FleetRow(
            model=entry.record.model, version=entry.record.version, control_offset=entry.offset
        )
        for entry in latest(entries).values()
        if isinstance(entry.record, ModelVersion)
        and entry.record.lifecycle is Lifecycle.PUBLISHED
        and (entry.record.model, entry.record.version) not in known
        and model in (None, entry.record.model)
    ]
    return sorted(found, key=_order)


def render(fleet: Fleet, found: Sequence[FleetRow], now_ms: int) -> RenderableType:
    """Return the rows as a table, the nodes below it, and what the nodes could not apply."""
    nodes = [fleet.nodes[name] for name in sorted(fleet.nodes)]
    if not nodes and not found:
        return Text("no nodes: none has written to the status topic; start one: headrace serve")
    parts: list[RenderableType] = []
    if not found:
        parts.append(Text("no versions: publish one with 'headrace publish MODEL PATH'"))
    elif len(nodes) <= _MAX_NODE_COLUMNS:
        parts.append(_by_node(found, [node.name for node in nodes]))
    else:
        parts.append(_flat(found))
    parts += [_node_line(node, now_ms) for node in nodes]
    parts += [
        Text(f"node {node.name} could not apply: {words}", style="red")
        for node in nodes
        if node.heartbeat is not None
        for words in node.heartbeat.control_errors
    ]
    return Group(*parts)


def _by_node(found: Sequence[FleetRow], nodes: Sequence[str]) -> Table:
    table = Table("model", "version", *nodes, "error", box=None, pad_edge=False)
    for cells in _grouped(found).values():
        first = next(iter(cells.values()))
        states = [_state(cells.get(node)) for node in nodes]
        errors = "; ".join(
            f"{row.node}: {row.error}" if len(nodes) > 1 else row.error
            for row in cells.values()
            if row.error
        )
        table.add_row(first.model, str(first.version), *states, Text(errors))
    return table


def _flat(found: Sequence[FleetRow]) -> Table:
    table = Table("model", "version", "node", "state", "error", box=None, pad_edge=False)
    for row in found:
        node = f"{row.node}{'' if row.node_is_live else ' (lost)'}" if row.node else "-"
        table.add_row(row.model, str(row.version), node, _state(row), Text(row.error or ""))
    return table


def _grouped(found: Sequence[FleetRow]) -> Mapping[tuple[str, int], dict[str | None, FleetRow]]:
    grouped: dict[tuple[str, int], dict[str | None, FleetRow]] = {}
    for row in found:
        grouped.setdefault((row.model, row.version), {})[row.node] = row
    return grouped


def _state(row: FleetRow | None) -> Text:
    if row is None or row.state is None:
        return Text("-", style="dim")
    if row.node_is_live is False:
        return Text(f"{row.state} (lost)", style="dim")
    return Text(row.state, style=_STYLES.get(row.state, "yellow"))


def _node_line(node: NodeView, now_ms: int) -> Text:
    heartbeat = node.heartbeat
    if heartbeat is None:
        return Text(f"node {node.name}: no heartbeat yet", style="dim")
    if not node.is_live(now_ms):
        silent = (now_ms - node.last_seen_ms) / 1000
        return Text(f"node {node.name}: lost, silent for {silent:.0f} s", style="red")
    readiness = "ready" if node.is_ready else "not ready"
    doors = ", ".join(
        f"{name} {endpoint}"
        for name, endpoint in (("gRPC", heartbeat.grpc_endpoint), ("HTTP", heartbeat.http_endpoint))
        if endpoint
    )
    return Text(
        f"node {node.name}: live, {readiness}, at control offset {node.control_offset}"
        f"{f', {doors}' if doors else ''}"
    )


def _order(row: FleetRow) -> tuple[str, int, str]:
    return row.model, -row.version, row.node or ""
