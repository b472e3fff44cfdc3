"""Where a pipeline's requests come from: what differs between a node's door and a replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.consumer.stream.clients import Message, TopicPartition
from headrace.consumer.stream.requests import Requests


class Source(Protocol):
    """What records mean to a pipeline, and how far it reads.

    **Concurrency:** event loop only; asked once per batch, never per record.
    """

    def end_offset(self, partition: TopicPartition) -> int | None:
        """Return the offset at which the partition ends; None when it never does."""
        ...

    async def requests(self, messages: Sequence[Message]) -> Requests:
        """Return the requests among consecutive records of one partition, of which there are some.

        They may be none, and cover all the records all the same: see `Requests.next_offset`.
        """
        ...

    def note_committed(self, partition: TopicPartition, batches: Sequence[Requests]) -> None:
        """Note that these batches of a partition are answered for good, with all before them."""
        ...


class Unbounded:
    """The source of a door: every record is a request, for ever.

    **Concurrency:** event loop only.
    """

    def __init__(self, default_deadline_seconds: float) -> None:
        self._default_deadline_seconds = default_deadline_seconds

    def end_offset(self, partition: TopicPartition) -> int | None:  # noqa: ARG002 - all alike
        """Return None: there is no end."""
        return None

    async def requests(self, messages: Sequence[Message]) -> Requests:
        """Return the records as requests."""
        return Requests(messages, default_deadline_seconds=self._default_deadline_seconds)

    def note_committed(self, partition: TopicPartition, batches: Sequence[Requests]) -> None:
        """Note nothing."""
