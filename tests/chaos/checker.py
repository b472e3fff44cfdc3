"""Judges a run from what it left behind; pure, so that it can be tested with doctored evidence.

Knows what each kind of request deserves. Does no I/O.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.chaos.evidence import Answer, Evidence, Kind, Request
from tests.chaos.versions import expected_value
from tests.chaos.wanted import Wanted

Delivery = Literal["exactly_once", "at_least_once"]

DEFAULT_BOUND_SECONDS: Final = 30.0
NEIGHBOUR_SHIFT: Final = 100
"""What is added to a neighbour's number: none of them is the deadly value."""
_SHOWN: Final = 5
_INVALID: Final = frozenset({"INVALID_ARGUMENT"})
# The version is given up by a node on which its worker has died three times within a minute.
_DIED: Final = frozenset({"UNAVAILABLE", "NOT_FOUND"})


@dataclass(frozen=True, slots=True)
class Due:
    """What one kind of request deserves; no codes, no answer."""

    codes: frozenset[str]
    has_letter: bool = False


DUE: Final[Mapping[Kind, Due]] = {
    Kind.PLAIN: Due(frozenset({"OK"})),
    Kind.NEIGHBOUR: Due(frozenset({"OK"})),
    Kind.GARBAGE: Due(_INVALID, has_letter=True),
    Kind.NAMELESS: Due(frozenset(), has_letter=True),
    Kind.EMPTY: Due(_INVALID, has_letter=True),
    Kind.CUT: Due(_INVALID, has_letter=True),
    Kind.MISTYPED: Due(_INVALID),
    Kind.DEADLY: Due(_DIED),
}


@dataclass(slots=True)
class Verdict:
    """What was found, each flaw in words, and the figures.

    Attributes:
        lost: requests without an answer, or without a dead letter, that deserve one.
        doubled: answers and dead letters after the first for one request.
        disordered: answers to one input partition that are not in the order of its requests.
        wrong: answers that say something else than they should, or nobody asked for.
        unsound: flaws of the load or the log itself; a run with one proves nothing.
    """

    requests: int
    answers: int
    letters: int
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    disordered: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    unsound: list[str] = field(default_factory=list[str])
    excused: int = 0
    slowest_swap_seconds: float = 0.0

    def violations(self, delivery: Delivery) -> dict[str, list[str]]:
        """Return the flaws that break a guarantee, by invariant; empty when it holds."""
        invariants = {
            "lost": self.lost,
            "out of order": self.disordered,
            "wrong": self.wrong,
            "unsound": self.unsound,
        }
        if delivery == "exactly_once":
            invariants["doubled"] = self.doubled
        return {name: flaws for name, flaws in invariants.items() if flaws}

    def words(self, delivery: Delivery) -> str:
        """Return the violations as text, the first few of each."""
        lines: list[str] = []
        for name, flaws in self.violations(delivery).items():
            lines.append(f"{name}: {len(flaws)}")
            lines += [f"    {flaw}" for flaw in flaws[:_SHOWN]]
        return "\n".join(lines)


def check(evidence: Evidence, *, bound_seconds: float = DEFAULT_BOUND_SECONDS) -> Verdict:
    """Judge a whole run."""
    verdict = Verdict(len(evidence.requests), len(evidence.answers), len(evidence.letters))
    by_number = {request.number: request for request in evidence.requests}
    _check_load(evidence, verdict)
    _check_counts(evidence, by_number, verdict)
    _check_order(evidence, by_number, verdict)
    wanted = Wanted(evidence.events, round(bound_seconds * 1000))
    is_deadly = any(request.kind is Kind.DEADLY for request in evidence.requests)
    for answer in evidence.answers:
        request = by_number.get(answer.number) if answer.number is not None else None
        if request is None or not DUE[request.kind].codes:
            verdict.wrong.append(f"an answer that nobody asked for: {answer}")
        elif request.kind is Kind.NEIGHBOUR and answer.code in _DIED and is_deadly:
            verdict.excused += 1
        elif flaw := _content_flaw(request, answer, wanted):
            verdict.wrong.append(f"{flaw}: {request} got {answer}")
    verdict.slowest_swap_seconds = wanted.slowest_ms / 1000
    return verdict


def _check_load(evidence: Evidence, verdict: Verdict) -> None:
    """The request topic says what was asked; the load's own book must agree with it."""
    counts = Counter(request.number for request in evidence.requests)
    for number, count in counts.items():
        if count > 1:
            verdict.unsound.append(f"request {number} was written {count} times")
    for number in sorted(evidence.confirmed - counts.keys()):
        verdict.unsound.append(f"request {number} was confirmed and is not in its topic")
    if evidence.seen is not None:
        places = {(answer.partition, answer.offset) for answer in evidence.answers}
        for place in sorted(evidence.seen ^ places):
            verdict.unsound.append(f"the answer at {place} was read live or afterwards, not both")


def _check_counts(evidence: Evidence, by_number: Mapping[int, Request], verdict: Verdict) -> None:
    """Each request has the answer and the dead letter that it deserves, once."""
    answers = Counter(answer.number for answer in evidence.answers)
    letters = Counter((letter.partition, letter.offset) for letter in evidence.letters)
    for request in evidence.requests:
        due = DUE[request.kind]
        place = (request.partition, request.offset)
        for what, count, is_due in (
            ("answer", answers[request.number], bool(due.codes)),
            ("dead letter", letters.pop(place, 0), due.has_letter),
        ):
            if is_due and not count:
                verdict.lost.append(f"no {what}: {request}")
            elif is_due and count > 1:
                verdict.doubled += [
                    f"{what} {n} of {count}: {request}" for n in range(2, count + 1)
                ]
            elif count and not is_due and what == "dead letter":
                verdict.wrong.append(f"a dead letter that nothing called for: {request}")
    for place, count in letters.items():
        verdict.wrong.append(f"{count} dead letters of a request that is not there: {place}")
    for letter in evidence.letters:
        origin = by_number.get(letter.number) if letter.number is not None else None
        if origin and (origin.partition, origin.offset) != (letter.partition, letter.offset):
            verdict.wrong.append(f"a dead letter with another origin: {origin} became {letter}")


def _check_order(evidence: Evidence, by_number: Mapping[int, Request], verdict: Verdict) -> None:
    """First answers come in the order of their requests, per input partition; so do letters.

    That is more than order per key, since a key stays in its partition: also answers of one input
    partition must not be spread over several.
    """
    last: dict[tuple[str, int], int] = defaultdict(lambda: -1)
    homes = _homes(evidence, by_number)
    answered: set[int] = set()
    for answer in sorted(evidence.answers, key=lambda each: (each.partition, each.offset)):
        if answer.number is None or answer.number in answered:
            continue
        answered.add(answer.number)
        request = by_number.get(answer.number)
        if request is None:
            continue
        if homes[request.partition] != answer.partition:
            verdict.disordered.append(f"answered in another partition: {request} got {answer}")
            continue
        lane = ("answers", request.partition)
        if request.offset < last[lane]:
            verdict.disordered.append(f"answered after offset {last[lane]}: {request}")
        last[lane] = max(last[lane], request.offset)
    put_aside: set[tuple[int, int]] = set()
    for letter in sorted(evidence.letters, key=lambda each: each.position):
        place, lane = (letter.partition, letter.offset), ("letters", letter.partition)
        if place not in put_aside and letter.offset < last[lane]:
            verdict.disordered.append(f"put aside after offset {last[lane]}: {letter}")
        put_aside.add(place)
        last[lane] = max(last[lane], letter.offset)


def _homes(evidence: Evidence, by_number: Mapping[int, Request]) -> dict[int, int]:
    """Return where the answers to each input partition are: where most of them are."""
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for answer in evidence.answers:
        request = by_number.get(answer.number) if answer.number is not None else None
        if request is not None:
            counts[request.partition][answer.partition] += 1
    return {partition: places.most_common(1)[0][0] for partition, places in counts.items()}


def _content_flaw(request: Request, answer: Answer, wanted: Wanted) -> str | None:
    """Return what is wrong with one answer, in words."""
    if answer.key != request.key:
        return "the answer has another key"
    if answer.code not in DUE[request.kind].codes:
        return f"the code is {answer.code}"
    if request.kind is Kind.NEIGHBOUR and answer.value != request.number + NEIGHBOUR_SHIFT:
        return f"the value is not {request.number + NEIGHBOUR_SHIFT}"
    if request.kind is Kind.PLAIN:
        if flaw := wanted.flaw(answer):
            return flaw
        expected = expected_value(request.number, answer.version or 0)
        if answer.value != expected:
            return f"the value is not {expected}"
    return None
