"""What the shadow topic says of one model: how often answers agreed, and how fast they were.

Only sums are kept, so that any number of records can be read.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from headrace.publisher.clients import TopicPartition
from headrace.publisher.configuration import check_name
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.progress import Tick
from headrace.publisher.spans import span_reader
from headrace.publisher.topics import require_topics
from headrace.schemas.codec import decode
from headrace.schemas.comparison import Agreement, Answered, ShadowComparison
from headrace.schemas.errors import WireError
from headrace.schemas.topics import Topics

_DIGITS: Final = 3


class VersionPair(NamedTuple):
    """Who answered callers, and whose answers were compared; version 0 could not be asked."""

    primary_model: str
    primary_version: int
    shadow_model: str
    shadow_version: int


class Latencies:
    """How long answers took, to three digits.

    Units: microseconds.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, micros: int) -> None:
        """Count one."""
        step = 10 ** max(0, len(str(micros)) - _DIGITS)
        self._counts[micros // step * step] += 1

    def quantile(self, share: float) -> int | None:
        """Return what this share of them took at most; None of none."""
        rank, seen = math.ceil(share * self._counts.total()), 0
        for micros, count in sorted(self._counts.items()):
            seen += count
            if seen >= rank:
                return micros
        return None


@dataclass(slots=True)
class OutputTally:
    """In how many comparisons an output differed, by how much at most, and one reason in words."""

    comparisons: int = 0
    max_absolute: float = 0.0
    reason: str = ""


@dataclass(slots=True)
class ErrorTally:
    """How many answers were this error, and the text of one."""

    count: int = 0
    example: str = ""


@dataclass(slots=True)
class PairTally:
    """What became of the requests that one version answered and another was asked, too.

    `failures` are by reason; errors by code.
    """

    agreements: Counter[Agreement] = field(default_factory=Counter[Agreement])
    outputs: dict[str, OutputTally] = field(default_factory=dict[str, OutputTally])
    primary_errors: dict[str, ErrorTally] = field(default_factory=dict[str, ErrorTally])
    shadow_errors: dict[str, ErrorTally] = field(default_factory=dict[str, ErrorTally])
    primary_latencies: Latencies = field(default_factory=Latencies)
    shadow_latencies: Latencies = field(default_factory=Latencies)

    @property
    def compared(self) -> int:
        """How many answers were compared."""
        return self.agreements[Agreement.AGREES] + self.agreements[Agreement.DIFFERS]

    @property
    def agreement(self) -> float | None:
        """The share of the compared answers that agree; None of none."""
        compared = self.compared
        return self.agreements[Agreement.AGREES] / compared if compared else None


@dataclass(slots=True)
class ShadowReport:
    """What was found of one model, by who answered; `unreadable` records were left out."""

    model: str
    pairs: dict[VersionPair, PairTally] = field(default_factory=dict[VersionPair, PairTally])
    missed: int = 0
    unreadable: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, record: ShadowComparison) -> None:
        """Count one comparison."""
        self.missed += record.missed
        self.first_ms = min(record.at_ms, record.at_ms if self.first_ms is None else self.first_ms)
        self.last_ms = max(record.at_ms, self.last_ms or 0)
        primary, shadow = record.primary, record.shadow
        key = VersionPair(primary.model, primary.version, shadow.model, shadow.version)
        tally = self.pairs.setdefault(key, PairTally())
        tally.agreements[record.agreement] += 1
        for difference in record.differences:
            output = tally.outputs.setdefault(difference.output, OutputTally())
            output.comparisons += 1
            output.max_absolute = max(output.max_absolute, difference.max_absolute)
            output.reason = output.reason or difference.reason
        _count(tally.primary_errors, tally.primary_latencies, primary)
        _count(tally.shadow_errors, tally.shadow_latencies, shadow)

    @property
    def total(self) -> PairTally:
        """All pairs together, without outputs, errors and latencies."""
        whole = PairTally()
        for tally in self.pairs.values():
            whole.agreements += tally.agreements
        return whole


async def read_shadow_report(
    connection: KafkaConnection,
    model: str,
    topics: Topics | None = None,
    *,
    since_ms: int | None = None,
    tick: Tick = lambda _done, _total: None,
) -> ShadowReport:
    """Return what the shadow topic holds of a model, as of now.

    Args:
        connection: where Kafka is.
        model: the model or alias whose requests are mirrored.
        topics: the topics of the deployment.
        since_ms: from when on, in epoch milliseconds; None from the beginning.
        tick: told the offsets done so far, and their total.

    Raises:
        InvalidArgument: the model's name cannot be one.
        BrokerUnreachable: no broker answered, or it stopped answering.
        TopicMismatch: the shadow topic does not exist.
    """
    check_name(model)
    topic, key = (topics or Topics()).shadow, model.encode()
    width = (await require_topics(connection, [topic]))[topic]
    report = ShadowReport(model)
    async with span_reader(connection) as reader:
        partitions = [TopicPartition(topic, number) for number in range(width)]
        spans = [(each, *await reader.bounds(each, since_ms)) for each in partitions]
        done, total = 0, sum(end - start for _, start, end in spans)
        for partition, start, end in spans:
            async for message in reader.read(partition, start, end):
                tick(done + message.offset + 1 - start, total)
                if message.key != key:
                    continue
                try:
                    report.add(decode(message.value or b"", ShadowComparison))
                except WireError:
                    report.unreadable += 1
            done += end - start
    return report


def _count(errors: dict[str, ErrorTally], latencies: Latencies, answered: Answered) -> None:
    if answered.error_code:
        error = errors.setdefault(answered.error_code, ErrorTally())
        error.count += 1
        error.example = error.example or answered.error
    elif answered.version:
        latencies.add(answered.latency_micros)
