"""Follows the status topic until the fleet has settled an event, or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.publisher import settling
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import WaitTimeout
from headrace.publisher.fleet import Fleet, status_reader
from headrace.publisher.progress import NodeReported, OnProgress
from headrace.publisher.settling import Event, Wait
from headrace.schemas.records import NodeStatus
from headrace.schemas.topics import Topics


class FleetWait:
    """Waits for one event on one fleet until a deadline of the monotonic clock.

    **Concurrency:** one call at a time.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topics: Topics,
        event: Event,
        deadline: float,
        on_progress: OnProgress,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._event = event
        self._deadline = deadline
        self._on_progress = on_progress
        self._started = time.monotonic()

    async def published(self, wait: Wait) -> tuple[str, ...]:
        """Return the nodes that serve the version once `wait` is satisfied.

        Raises:
            NotServed: the fleet will not serve it.
            WaitTimeout: not settled in time; the message names what is missing.
        """
        return await self._settled(
            lambda fleet: settling.published(fleet, self._event, wait, _now_ms()),
            lambda fleet: settling.unsettled(fleet, self._event, _now_ms()),
        )

    async def retired(self) -> tuple[str, ...]:
        """Return the live nodes once none of them holds the version.

        Raises:
            WaitTimeout: a node still holds it.
        """
        return await self._settled(
            lambda fleet: settling.retired(fleet, self._event, _now_ms()),
            lambda fleet: settling.holding(fleet, self._event, _now_ms()),
        )

    async def _settled(
        self,
        settled: Callable[[Fleet], list[str] | None],
        missing: Callable[[Fleet], str],
    ) -> tuple[str, ...]:
        async with status_reader(self._connection, self._topics, self._report) as reader:
            nodes = await reader.wait_for(settled, self._deadline - time.monotonic())
            if nodes is None:
                raise WaitTimeout(self._timeout_words(missing(reader.fleet)))
        return tuple(nodes)

    def _report(self, status: NodeStatus) -> None:
        about = status.servable
        if about is None or about.control_offset < self._event.offset:
            return
        if (about.model, about.version) == (self._event.model, self._event.version):
            self._on_progress(
                NodeReported(
                    node=status.node, state=about.state, attempt=about.attempt, error=about.error
                )
            )

    def _timeout_words(self, missing: str) -> str:
        waited = self._deadline - self._started
        what = f"version {self._event.version} of {self._event.model!r}"
        if not missing:
            return (
                f"no live node said anything of {what} within {waited:.3g} s: start one with "
                f"'headrace serve' on {self._connection.bootstrap_servers}; the event is in the "
                f"log at offset {self._event.offset} and stays there"
            )
        return (
            f"the fleet had not settled {what} within {waited:.3g} s: {missing}: the event is in "
            f"the log at offset {self._event.offset} and stays there; watch with 'headrace models'"
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
