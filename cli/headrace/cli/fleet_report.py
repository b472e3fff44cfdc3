"""Reads the fleet from Kafka and prints it, once or whenever it changes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import typer
from rich.live import Live

from headrace.cli import fleet_view
from headrace.cli.terminal import console
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.fleet import Fleet, StatusReader, status_reader
from headrace.publisher.gate import Gate
from headrace.publisher.history import ControlEntry, read_control
from headrace.schemas.topics import Topics

_REFRESH_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """What of the fleet to show, and how.

    **Concurrency:** one event loop.
    """

    connection: KafkaConnection
    model: str | None = None
    with_idle: bool = False
    as_json: bool = False

    async def once(self) -> None:
        """Print the fleet as it is now.

        Raises:
            BrokerUnreachable: no broker answered.
            TopicMismatch: a topic does not exist.
        """
        async with status_reader(self.connection, Topics.from_environment()) as reader:
            found, now_ms = await self._rows(reader.fleet)
            if self.as_json:
                typer.echo(_line(found))
            else:
                console().print(fleet_view.render(reader.fleet, found, now_ms))

    async def follow(self) -> None:
        """Print the fleet whenever it changes, until cancelled; raises as `once`."""
        async with status_reader(self.connection, Topics.from_environment()) as reader:
            if self.as_json or not console().is_terminal:
                await self._follow_lines(reader)
            else:
                await self._follow_live(reader)

    async def _follow_live(self, reader: StatusReader) -> None:
        with Live(console=console(), auto_refresh=False, screen=False) as live:
            while True:
                found, now_ms = await self._rows(reader.fleet)
                live.update(fleet_view.render(reader.fleet, found, now_ms), refresh=True)
                await reader.follow(_REFRESH_SECONDS)

    async def _follow_lines(self, reader: StatusReader) -> None:
        before: Sequence[fleet_view.FleetRow] | None = None
        while True:
            found, now_ms = await self._rows(reader.fleet)
            if found != before:
                if self.as_json:
                    typer.echo(_line(found))
                else:
                    console().print(fleet_view.render(reader.fleet, found, now_ms), "")
                before = found
            await reader.follow(_REFRESH_SECONDS)

    async def _rows(self, fleet: Fleet) -> tuple[list[fleet_view.FleetRow], int]:
        entries: list[ControlEntry] = []
        if self.with_idle:
            trusted = EventSecurity.from_environment().trusted_keys
            entries = await read_control(self.connection, Topics.from_environment(), Gate(trusted))
        now_ms = time.time_ns() // 1_000_000
        found = fleet_view.rows(fleet, now_ms, self.model)
        return found + fleet_view.idle(entries, found, self.model), now_ms


def _line(found: Sequence[fleet_view.FleetRow]) -> str:
    return json.dumps([row.as_json() for row in found])
