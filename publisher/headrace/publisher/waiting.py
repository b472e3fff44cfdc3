"""Follows the status topic until the fleet has settled an event, or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.publisher import settling
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import WaitTimeout
from headrace.publisher.fleet import Fleet, status_reader
from headrace.publisher.progress import NodeReported, OnProgress
from headrace.publisher.settling import Event, Wait, Wanted
from headrace.schemas.records import NodeStatus
from headrace.schemas.topics import Topics


class FleetWait:
    """Waits for events on one fleet until a deadline of the monotonic clock.

    **Concurrency:** one call at a time.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topics: Topics,
        deadline: float,
        on_progress: OnProgress,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._deadline = deadline
        self._on_progress = on_progress
        self._started = time.monotonic()

    async def published(self, event: Event, wait: Wait) -> tuple[str, ...]:
        """Return the nodes that serve the version once `wait` is satisfied.

        Raises:
            NotServed: the fleet will not serve it.
            WaitTimeout: not settled in time; the message names what is missing.
        """
        return await self._settled(
            event,
            lambda fleet: settling.published(fleet, event, wait, _now_ms()),
            lambda fleet: settling.unsettled(fleet, event, _now_ms()),
        )

    async def retired(self, event: Event) -> tuple[str, ...]:
        """Return the live nodes once none of them holds the version.

        Raises:
            WaitTimeout: a node still holds it.
        """
        return await self._settled(
            event,
            lambda fleet: settling.retired(fleet, event, _now_ms()),
            lambda fleet: settling.holding(fleet, event, _now_ms()),
        )

    async def configured(self, wanted: Wanted) -> tuple[str, ...]:
        """Return the live nodes once all have applied the configuration and serve its versions.

        Raises:
            RefusedByNode: a node cannot load one of them.
            WaitTimeout: not settled in time; the message names what is missing.
        """
        return await self._settled(
            wanted,
            lambda fleet: settling.configured(fleet, wanted, _now_ms()),
            lambda fleet: settling.behind(fleet, wanted, _now_ms()),
        )

    async def _settled(
        self,
        event: Event | Wanted,
        settled: Callable[[Fleet], list[str] | None],
        missing: Callable[[Fleet], str],
    ) -> tuple[str, ...]:
        def report(status: NodeStatus) -> None:
            self._report(status, event)

        async with status_reader(self._connection, self._topics, report) as reader:
            nodes = await reader.wait_for(settled, self._deadline - time.monotonic())
            if nodes is None:
                raise WaitTimeout(self._timeout_words(event, missing(reader.fleet)))
        return tuple(nodes)

    def _report(self, status: NodeStatus, event: Event | Wanted) -> None:
        about = status.servable
        if about is None or about.control_offset < event.offset:
            return
        if about.model == event.model and about.version in event.versions:
            self._on_progress(
                NodeReported(
                    node=status.node, state=about.state, attempt=about.attempt, error=about.error
                )
            )

    def _timeout_words(self, event: Event | Wanted, missing: str) -> str:
        waited = self._deadline - self._started
        what = event.words
        if not missing:
            return (
                f"no live node said anything of {what} within {waited:.3g} s: start one with "
                f"'headrace serve' on {self._connection.bootstrap_servers}; the event is in the "
                f"log at offset {event.offset} and stays there"
            )
        return (
            f"the fleet had not settled {what} within {waited:.3g} s: {missing}: the event is in "
            f"the log at offset {event.offset} and stays there; watch with 'headrace models'"
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
