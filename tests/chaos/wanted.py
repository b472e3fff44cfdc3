"""Which version was wanted when: the control log's word, folded here a second time and simply.

The model's policy is the default one: the highest published version is wanted, and no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.evidence import Answer, VersionEvent

FOREVER_MS: Final = 2**63


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which one version was wanted, epoch milliseconds."""

    begin_ms: int
    end_ms: int


class Wanted:
    """Judges the provenance of answers.

    An answer's version was *wanted at the time* when its `control-offset` is that of an event that
    published this version, the event is not younger than the answer, and the answer was written
    before the version ceased to be wanted, or at most `bound_ms` after it. The bound is what nodes
    get to hear of a newer version, load it and let go of the old one, while they are frozen, while
    Kafka is away, and while others start on the same cores.

    Both times are taken on this one machine.
    """

    def __init__(self, events: Sequence[VersionEvent], bound_ms: int) -> None:
        self._bound_ms = bound_ms
        self._published = {event.offset: event for event in events if event.is_published}
        self._spans = _spans(events)
        self.slowest_ms = 0
        """The longest time after its end that a version still answered."""

    def flaw(self, answer: Answer) -> str | None:
        """Return what is wrong with the provenance of an answer, in words."""
        if answer.version is None or answer.control_offset is None:
            return "says no version or no control offset"
        event = self._published.get(answer.control_offset)
        if event is None or event.version != answer.version:
            return f"control offset {answer.control_offset} published no version {answer.version}"
        if event.at_ms > answer.at_ms:
            return f"version {answer.version} was published {event.at_ms - answer.at_ms} ms later"
        late_ms = min(
            (
                answer.at_ms - span.end_ms
                for span in self._spans[answer.version]
                if span.begin_ms <= answer.at_ms
            ),
            default=None,
        )
        if late_ms is None:
            return f"version {answer.version} was not wanted by then"
        self.slowest_ms = max(self.slowest_ms, late_ms)
        if late_ms > self._bound_ms:
            return f"version {answer.version} had not been wanted for {late_ms} ms"
        return None


def _spans(events: Sequence[VersionEvent]) -> dict[int, list[Span]]:
    spans: dict[int, list[Span]] = defaultdict(list)
    published: set[int] = set()
    wanted, since_ms = 0, 0
    for event in events:
        (published.add if event.is_published else published.discard)(event.version)
        now_wanted = max(published, default=0)
        if now_wanted != wanted:
            if wanted:
                spans[wanted].append(Span(since_ms, event.at_ms))
            wanted, since_ms = now_wanted, event.at_ms
    if wanted:
        spans[wanted].append(Span(since_ms, FOREVER_MS))
    return spans
