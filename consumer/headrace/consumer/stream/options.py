"""What a Kafka door is told: which topics, which group, and how much at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.consumer.core.errors import NodeError
from headrace.schemas.topics import Topics


class DeliveryGuarantee(StrEnum):
    """What is promised of answers when something fails."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """The settings of one Kafka door.

    Attributes:
        node: this node's id, named in every answer.
        group: the consumer group that shares the request topics.
        topics: the deployment's topics. Requests come from `topics.requests`, unless
            `request_topics` or `request_pattern` says otherwise. Without a name for dead letters
            none are kept.
        request_topics: the request topics by name.
        request_pattern: a regular expression that request topics match; excludes `request_topics`.
        delivery: what is promised of answers.
        transaction_interval_seconds: the shortest time between two transactions of a partition
            that has few records; the first after a pause waits for nothing.
        max_transaction_records: a transaction with so many records waits no longer.
        max_batch_records: how many records of one partition are taken at once.
        max_in_flight_records: records of one partition that are taken and not yet committed.
        max_in_flight_bytes: bytes of all partitions together that are taken and not yet committed;
            each has an equal share, and may go past it by one batch.
        default_deadline_seconds: for requests without a `deadline-ms` header.
        drain_timeout_seconds: how long what is in flight may take when the door stops or gives a
            partition away.
        session_timeout_seconds: silence after which the group goes on without this node.
        commit_interval_seconds: how often confirmed positions are committed.
    """

    node: str
    group: str = "headrace"
    topics: Topics = field(default_factory=Topics)
    request_topics: tuple[str, ...] = ()
    request_pattern: str | None = None
    delivery: DeliveryGuarantee = DeliveryGuarantee.EXACTLY_ONCE
    transaction_interval_seconds: float = 0.02
    max_transaction_records: int = 8000
    max_batch_records: int = 1000
    max_in_flight_records: int = 12_000
    max_in_flight_bytes: int = 128 * 2**20
    default_deadline_seconds: float = 30.0
    drain_timeout_seconds: float = 20.0
    session_timeout_seconds: float = 10.0
    commit_interval_seconds: float = 0.2

    def __post_init__(self) -> None:
        """Raise NodeError, in words, when the door would feed on what it writes."""
        if self.request_pattern is not None:
            if self.request_topics:
                raise NodeError("give request topics by name or by pattern, not both")
            try:
                pattern = re.compile(self.request_pattern)
            except re.error as error:
                raise NodeError(
                    f"request topic pattern {self.request_pattern!r} is no regular expression: "
                    f"{error}"
                ) from error
            read = [topic for topic in self.written_topics if pattern.match(topic)]
        else:
            read = [topic for topic in self.written_topics if topic in self.subscribed]
        if read:
            raise NodeError(
                f"the request topics include {', '.join(read)}, which the node writes itself: "
                "choose other request topics"
            )

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The request topics by name; empty when a pattern chooses them."""
        if self.request_pattern is not None:
            return ()
        return self.request_topics or (self.topics.requests,)

    @property
    def written_topics(self) -> tuple[str, ...]:
        """The deployment's topics that requests are never read from."""
        topics = self.topics
        return (topics.responses, topics.dead_letters, topics.control, topics.status)
