"""An operator who publishes, configures, rolls back, retires, and knows when nodes have settled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headrace.publisher import ConfigChange, ModelPublisher
from headrace.publisher.fleet import Fleet, NodeView, StatusReader
from headrace.publisher.history import read_control
from headrace.schemas.records import ServableState
from tests.chaos.versions import version_folder
from tests.e2e.allowed import Settled
from tests.e2e.rig import Site
from tests.e2e.wishes import History

# What a version of a model adds to half of x, so that the values tell who computed them.
_ADDED: Final[Mapping[str, int]] = {"m": 0, "rival": 20}
_SETTLE_SECONDS: Final = 45.0


def author(added: float) -> tuple[str, int]:
    """Return the model and the version that add this to half of x."""
    model = "rival" if added > _ADDED["rival"] else "m"
    return model, int(added) - _ADDED[model]


@dataclass
class Operator:
    """Writes to the log, one event after the other.

    Attributes:
        newest_offset: the last event's.
        settled: when every node had come to rest, and as of which event.
    """

    site: Site
    publisher: ModelPublisher
    status: StatusReader
    nodes: tuple[str, ...]
    newest_offset: int = -1
    settled: list[Settled] = field(default_factory=list[Settled])

    async def publish(self, model: str, version: int) -> None:
        """Publish a version, and do not wait for it."""
        folder = version_folder(version + _ADDED[model])
        published = await self.publisher.publish(model, version, folder)
        self.newest_offset = published.control_offset

    async def retire(self, model: str, version: int) -> None:
        """Retire a version."""
        self.newest_offset = (await self.publisher.retire(model, version)).control_offset

    async def configure(self, change: ConfigChange) -> None:
        """Change a model's configuration."""
        self.newest_offset = (await self.publisher.configure(change)).control_offset

    async def roll_back(self, model: str) -> None:
        """Go back to what was served before."""
        self.newest_offset = (await self.publisher.rollback(model)).control_offset

    async def settle(self) -> None:
        """Return when every node has applied the last event and serves all that is wanted.

        A version that leaves and is wanted again says so by its status only after the first
        heartbeat that knows the event, so it is the second that counts.
        """
        wanted = await self._wanted()
        first: dict[str, int] = {}

        def has_settled(node: NodeView | None) -> bool:
            if node is None or node.heartbeat is None or node.control_offset < self.newest_offset:
                return False
            if node.heartbeat.at_ms <= first.setdefault(node.name, node.heartbeat.at_ms):
                return False
            states = (node.servable(*each) for each in wanted)
            return all(state and state.state is ServableState.AVAILABLE for state in states)

        def have_settled(fleet: Fleet) -> bool | None:
            found = [has_settled(fleet.nodes.get(name)) for name in self.nodes]
            return all(found) or None

        found = await self.status.wait_for(have_settled, _SETTLE_SECONDS)
        assert found, f"not all of {sorted(wanted)} serve on all of {self.status.fleet.nodes}"
        self.settled.append(Settled(self.newest_offset, time.time()))

    async def _wanted(self) -> set[tuple[str, int]]:
        fleet = History(await read_control(self.site.connection, self.site.topics)).at(
            self.newest_offset
        )
        return {(model, version) for model in fleet for version in fleet[model].wanted}
