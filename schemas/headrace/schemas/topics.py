"""The topics of Headrace: their default names, keys' meaning and broker-side settings.

Plain data; creating them is the publisher portion's business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The names of the topics that one deployment uses."""

    control: str = "headrace.control"
    status: str = "headrace.status"
    requests: str = "headrace.requests"
    responses: str = "headrace.responses"
    dead_letters: str = "headrace.dead-letters"
    shadow: str = "headrace.shadow"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Topics:
        """Return the names that HEADRACE_CONTROL_TOPIC and its like give, or the defaults.

        These are the variables that a node's settings read, so that tools and nodes of one
        deployment agree.
        """
        names = os.environ if environment is None else environment
        fields = {
            "control": "HEADRACE_CONTROL_TOPIC",
            "status": "HEADRACE_STATUS_TOPIC",
            "requests": "HEADRACE_REQUEST_TOPIC",
            "responses": "HEADRACE_RESPONSE_TOPIC",
            "dead_letters": "HEADRACE_DEAD_LETTER_TOPIC",
            "shadow": "HEADRACE_SHADOW_TOPIC",
        }
        return cls(**{name: names[key] for name, key in fields.items() if names.get(key)})


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """One topic as it should exist. `replication_factor = -1` takes the broker's default."""

    name: str
    partitions: int
    replication_factor: int = -1
    configs: Mapping[str, str] = field(default_factory=dict[str, str])


def specs(topics: Topics, *, request_partitions: int = 8) -> list[TopicSpec]:
    """Return how each topic is created where it does not exist yet."""
    # A compacted log keeps the last record of each key: exactly the memory that a plan needs.
    compacted = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "3600000",
    }
    return [
        # The broker's clock, not the writer's: it judges whether a signed event came too late.
        TopicSpec(
            name=topics.control,
            partitions=1,
            configs={**compacted, "message.timestamp.type": "LogAppendTime"},
        ),
        TopicSpec(name=topics.status, partitions=1, configs=compacted),
        TopicSpec(name=topics.requests, partitions=request_partitions),
        TopicSpec(name=topics.responses, partitions=request_partitions),
        TopicSpec(name=topics.dead_letters, partitions=1, configs={"retention.ms": "-1"}),
        TopicSpec(name=topics.shadow, partitions=1),
    ]


class RequestHeader:
    """Header names on request records; all values are UTF-8 text."""

    CORRELATION_ID = "correlation-id"
    REPLY_TOPIC = "reply-topic"
    DEADLINE_MS = "deadline-ms"
    AFFINITY = "affinity"
    TRACEPARENT = "traceparent"
    MIN_CONTROL_OFFSET = "min-control-offset"
    CONTENT_TYPE = "content-type"
    # The route, on records whose value does not begin with it.
    MODEL = "model"
    VERSION = "version"
    LABEL = "label"
    REPLAYED_FROM = "replayed-from"


class AnswerHeader:
    """Header names added to answer records: where the answer came from.

    `error-code` is on answers that are errors, whatever their encoding: a gRPC status name.
    `replay-of` is on answers of a replay: the request's place, `<topic>/<partition>/<offset>`.
    `routed-by` says what led to the version (version, label, split, standby or latest), `arm` which
    arm of a split, and `plan-offset` as of which control record the node routed.
    """

    MODEL = "model"
    VERSION = "version"
    CONTROL_OFFSET = "control-offset"
    ARTIFACT_DIGEST = "artifact-digest"
    NODE = "node"
    ERROR_CODE = "error-code"
    REPLAY_OF = "replay-of"
    ROUTED_BY = "routed-by"
    ARM = "arm"
    PLAN_OFFSET = "plan-offset"


class EventHeader:
    """Header names on signed records of the control topic; all values are ASCII text.

    `signature`, in base64, is over the key, the value and the other three.
    """

    KEY_ID = "key-id"
    GENERATION = "generation"
    NOT_AFTER_MS = "not-after-ms"
    SIGNATURE = "signature"


class DeadLetterHeader:
    """Header names added to dead letters; key, value and other headers are the original's.

    `TRUNCATED_BYTES` counts what a letter had to leave out to fit its topic. `REPLAYED` is the only
    header of a mark: a record that says which letter of its partition was replayed.
    """

    ORIGIN_TOPIC = "origin-topic"
    ORIGIN_PARTITION = "origin-partition"
    ORIGIN_OFFSET = "origin-offset"
    REASON = "reason"
    TRUNCATED_BYTES = "truncated-bytes"
    REPLAYED = "replayed"
