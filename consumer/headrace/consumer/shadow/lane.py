"""The requests of one name that wait to be mirrored: drawn by lot, bounded, the rest counted."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from headrace.consumer.core.calls import Answers, Calls, Encoding, Fault
from headrace.consumer.core.choice import Choice
from headrace.consumer.shadow.messages import PASSING

_MAX_JOINED_CALLS: Final = 256
_MAX_JOINED_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """How much may wait for each name whose requests are mirrored.

    Units: bytes are those of requests and their answers.
    """

    max_calls: int = 2048
    max_bytes: int = 64 * 2**20


class Sample(NamedTuple):
    """Requests that were answered together, and are to be mirrored together."""

    choice: Choice
    encoding: Encoding
    payloads: Sequence[bytes]
    answers: Sequence[bytes | Fault]
    seconds: float
    size_bytes: int


class Lane:
    """A queue of samples. `missed` counts the requests that were drawn, and had to be let go.

    **Concurrency:** event loop only.
    """

    def __init__(self, options: LaneOptions) -> None:
        self._options = options
        self._samples: deque[Sample] = deque()
        self._calls = 0
        self._bytes = 0
        self.missed = 0

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def first(self) -> Sample:
        """The sample whose turn it is."""
        return self._samples[0]

    def draw(
        self, choice: Choice, calls: Calls, answers: Answers, seconds: float, fraction: float
    ) -> None:
        """Queue each call with that probability, as far as there is room."""
        count = len(calls.payloads)
        drawn = min(count, int(count * fraction + random.random()))
        room = min(drawn, self._options.max_calls - self._calls)
        self.missed += drawn - room
        if not room:
            return
        chosen = range(count) if room == count else sorted(random.sample(range(count), room))
        sample = _sample(choice, calls, answers, seconds, chosen)
        if self._bytes + sample.size_bytes > self._options.max_bytes:
            self.missed += len(sample.payloads)
        elif sample.payloads:
            self._samples.append(sample)
            self._calls += len(sample.payloads)
            self._bytes += sample.size_bytes

    def take(self) -> list[Sample]:
        """Take out the first sample, and those right behind it that can be asked with it."""
        first = self._samples[0]
        taken, calls, size = list[Sample](), 0, 0
        while self._samples:
            sample = self._samples[0]
            if sample.choice is not first.choice or sample.encoding is not first.encoding:
                break
            calls += len(sample.payloads)
            size += sample.size_bytes
            if taken and (calls > _MAX_JOINED_CALLS or size > _MAX_JOINED_BYTES):
                break
            taken.append(self._samples.popleft())
            self._calls -= len(sample.payloads)
            self._bytes -= sample.size_bytes
        return taken

    def take_missed(self) -> int:
        """Return how many were missed since the last time."""
        missed, self.missed = self.missed, 0
        return missed

    def clear(self) -> None:
        """Let go of everything that waits."""
        self.missed += self._calls
        self._samples.clear()
        self._calls = self._bytes = 0


def _sample(
    choice: Choice, calls: Calls, answers: Answers, seconds: float, chosen: Sequence[int]
) -> Sample:
    """Return the chosen calls and their answers, without those that nothing compares to.

    So a request that has killed one worker does not go on to kill another.
    """
    outcomes: Sequence[bytes | Fault]
    if answers.faults:
        faults = answers.faults
        chosen = [
            n for n in chosen if (fault := faults.get(n)) is None or fault.code.name not in PASSING
        ]
        outcomes = [faults.get(n) or answers.payloads[n] for n in chosen]
    else:
        outcomes = _picked(answers.payloads, chosen)
    payloads = _picked(calls.payloads, chosen)
    size = sum(map(len, payloads)) + sum(len(o) for o in outcomes if isinstance(o, bytes))
    return Sample(choice, calls.encoding, payloads, outcomes, seconds, size)


def _picked(values: Sequence[bytes], chosen: Sequence[int]) -> Sequence[bytes]:
    """Return some of the values; all of them as they are."""
    return values if len(chosen) == len(values) else [values[n] for n in chosen]
