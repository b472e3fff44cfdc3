"""A node of which only the status topic can tell: it writes there what a test wants it to say."""

from __future__ import annotations

import time

from headrace.publisher.clients import AIOKafkaProducer
from headrace.publisher.fleet import heartbeat_key, status_key
from headrace.schemas import codec
from headrace.schemas.records import NodeStatus, ServableState, ServableStatus


class ScriptedNode:
    """Writes to the status topic what a node would: transitions and heartbeats.

    It speaks the real wire format; only its opinion of models is scripted.
    """

    def __init__(self, name: str, producer: AIOKafkaProducer, topic: str) -> None:
        self.name = name
        self._producer = producer
        self._topic = topic

    async def beat(self, control_offset: int, *, incarnation: int = 1) -> None:
        """Say how far the control log is applied."""
        status = NodeStatus(
            node=self.name,
            incarnation=incarnation,
            at_ms=time.time_ns() // 1_000_000,
            control_offset=control_offset,
            is_ready=True,
            heartbeat_interval_ms=60_000,
        )
        await self._put(heartbeat_key(self.name), status)

    async def report(
        self,
        version: int,
        state: ServableState,
        control_offset: int,
        *,
        attempt: int = 1,
        error: str | None = None,
    ) -> None:
        """Say what state a version of ranker is in."""
        servable = ServableStatus(
            model="ranker",
            version=version,
            state=state,
            control_offset=control_offset,
            attempt=attempt,
            error=error,
        )
        status = NodeStatus(
            node=self.name,
            incarnation=1,
            at_ms=time.time_ns() // 1_000_000,
            control_offset=control_offset,
            servable=servable,
        )
        await self._put(status_key(self.name, "ranker", version), status)

    async def _put(self, key: bytes, status: NodeStatus) -> None:
        sent = await self._producer.send(
            self._topic, key=key, value=codec.encode(status), partition=0
        )
        await sent
