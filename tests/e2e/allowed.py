"""Judges answers by the control log: whether each came from where the plan allowed it to.

Pure, so that it can be tested with doctored evidence. What is *meant* by a request follows from the
log alone: the arm of its key's cohort, the target of its label, the highest wanted version. What is
*allowed* is a little more, for as long as the nodes are not known to have settled: what was meant
before, as long as what is meant now may still be loading, and the other arms of a split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.e2e.wishes import Fleet, History, Leaf, Wishes, leaf, own_arm, weighted

STANDBY: Final = "standby"


class Asked(NamedTuple):
    """What a request says."""

    model: str
    version: int | None = None
    label: str | None = None
    affinity: bytes | None = None
    min_offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A request and its answer; times are of one clock.

    `computed_by` are the model and version that the values tell of, whatever the provenance claims.
    """

    asked: Asked
    sent_at: float
    received_at: float
    node: str
    model: str
    version: int
    digest: str
    control_offset: int
    plan_offset: int
    routed_by: str
    arm: str
    computed_by: tuple[str, int]


class Settled(NamedTuple):
    """A moment at which every node had applied a record, the last one, and served all it wanted."""

    offset: int
    at: float


class Way(NamedTuple):
    """A way that a request may go: why, by which arm, and to what."""

    routed_by: str
    arm: str
    leaf: Leaf


def flaws(
    history: History, settled: Sequence[Settled], answers: Sequence[Answered]
) -> Iterator[str]:
    """Return what is wrong with the answers, in words."""
    judge = Judge(history, settled)
    for answer in answers:
        flaw = judge.flaw(answer)
        if flaw is not None:
            yield f"{flaw}: {answer}"
    yield from _flaws_of_order(judge, answers)


class Judge:
    """Judges single answers."""

    def __init__(self, history: History, settled: Sequence[Settled]) -> None:
        self._history = history
        self._settled = settled
        self._ways: dict[tuple[int, Asked], tuple[Way, ...]] = {}
        self._steady: dict[tuple[int, str, int], bool] = {}

    def ways(self, answer: Answered) -> tuple[Way, ...]:
        """Return every way that the request might have gone when it was routed."""
        key = answer.plan_offset, answer.asked._replace(min_offset=None)
        if key not in self._ways:
            self._ways[key] = tuple(ways(self._history.at(answer.plan_offset), answer.asked))
        return self._ways[key]

    def flaw(self, answer: Answered) -> str | None:
        """Return what is wrong with an answer by itself."""
        return self._flaw_of_claims(answer) or self._flaw_of_way(answer)

    def _flaw_of_claims(self, answer: Answered) -> str | None:
        """Return what is wrong with what an answer says of its plan and of its version."""
        min_offset = answer.asked.min_offset
        if answer.plan_offset not in self._history:
            return "routed as of a control record that there is not"
        if min_offset is not None and answer.plan_offset < min_offset:
            return f"routed as of an older plan than {min_offset}"
        if answer.computed_by != (answer.model, answer.version):
            return "computed by another version than it says"
        return self._flaw_of_origin(answer)

    def _flaw_of_way(self, answer: Answered) -> str | None:
        """Return what is wrong with how an answer's request came to the version."""
        if self.is_meant(answer):
            return None
        if answer.asked.min_offset is not None or self._has_settled(answer):
            return "not what the plan means, and nothing may stand in for that"
        found = [way for way in self.ways(answer) if _is_taken(way, answer)]
        if not found:
            return "came by a way that the plan does not have"
        if not any(self._may_still_serve(way.leaf, answer) for way in found):
            return "from a version that the plan did not want, nor before"
        return None

    def is_meant(self, answer: Answered) -> bool:
        """Whether an answer is from just what the plan meant when it was routed."""
        fleet = self._history.at(answer.plan_offset)
        return any(
            _is_taken(way, answer) and _meant(fleet, way.leaf) == answer.version
            for way in self.ways(answer)
            if way.routed_by != STANDBY
        )

    def was_wanted_all_along(self, answer: Answered) -> bool:
        """Whether the answer's version has been wanted ever since it first was.

        One that comes back may be on its way out still when it is wanted again.
        """
        key = answer.plan_offset, answer.model, answer.version
        if key not in self._steady:
            fleets = self._history.between(-1, answer.plan_offset)
            wanted = [_is_wanted(fleet, answer.model, answer.version) for fleet in fleets]
            self._steady[key] = True in wanted and all(wanted[wanted.index(True) :])
        return self._steady[key]

    def _flaw_of_origin(self, answer: Answered) -> str | None:
        """Return what is wrong with the event that is said to have brought the version."""
        event = self._history.event(answer.control_offset)
        if answer.control_offset > answer.plan_offset:
            return "the version came later than the plan"
        if event is None or (event.model, event.version) != (answer.model, answer.version):
            return "the control offset is not of an event of this version"
        if event.digest != answer.digest:
            return "the digest is not that of the event"
        published = self._history.at(answer.plan_offset)[answer.model].published
        newest = published.get(answer.version)
        return None if newest in {None, answer.control_offset} else f"{newest} brought it anew"

    def _base(self, answer: Answered) -> int:
        """Return the last record that all nodes had settled at before this answer was routed."""
        return max(
            (
                point.offset
                for point in self._settled
                if point.offset < answer.plan_offset or point.at <= answer.sent_at
            ),
            default=-1,
        )

    def _has_settled(self, answer: Answered) -> bool:
        return self._base(answer) >= answer.plan_offset

    def _may_still_serve(self, wish: Leaf, answer: Answered) -> bool:
        """Whether the version was wanted, by this name, at some time since the nodes settled."""
        model, of = wish
        for fleet in self._history.between(self._base(answer), answer.plan_offset):
            if isinstance(of, str):
                is_target = model in fleet and fleet[model].config.labels.get(of) == answer.version
                if is_target and answer.version in fleet[model].published:
                    return True
            elif _is_wanted(fleet, model, answer.version) and of in {None, answer.version}:
                return True
        return False


def ways(fleet: Fleet, asked: Asked, trail: tuple[str, ...] = ()) -> list[Way]:
    """Return every way that a request may go, its own first."""
    name = asked.model
    if asked.version is not None:
        return [Way("version", "", (name, asked.version))]
    if asked.label is not None:
        return [Way("label", "", (name, asked.label))]
    config = fleet[name].config if name in fleet else None
    if config is None or not weighted(config) or trail[-1:] == (name,):
        return [Way("latest", "", (name, None))]
    found: list[Way] = []
    own = None if asked.affinity is None else own_arm(config, asked.affinity)
    for arm in weighted(config):
        model, of = leaf(config, arm)
        version, label = (of, None) if isinstance(of, int) else (None, of)
        below = asked._replace(model=model, version=version, label=label)
        for way in ways(fleet, below, (*trail, name)):
            is_own = own in {None, arm} and way.routed_by != STANDBY
            joined = f"{arm}/{way.arm}" if way.arm else arm
            found.append(Way("split" if is_own else STANDBY, joined, way.leaf))
    return found


def _is_taken(way: Way, answer: Answered) -> bool:
    return (way.routed_by, way.arm, way.leaf[0]) == (answer.routed_by, answer.arm, answer.model)


def _meant(fleet: Fleet, wish: Leaf) -> int | None:
    """Return the version that is meant, None when there is none."""
    model, of = wish
    wishes: Wishes | None = fleet.get(model)
    if wishes is None:
        return None
    if of is None:
        return max(wishes.wanted, default=None)
    version = wishes.config.labels.get(of) if isinstance(of, str) else of
    return version if version in wishes.wanted else None


def _is_wanted(fleet: Fleet, model: str, version: int) -> bool:
    return model in fleet and version in fleet[model].wanted


def _flaws_of_order(judge: Judge, answers: Sequence[Answered]) -> Iterator[str]:
    """Return what is wrong with answers beside earlier ones of the same node.

    No plan is followed by an older one; and where what is meant has answered, nothing stands in for
    it afterwards under the same plan. *Earlier* is what was received before the other was sent.
    """
    newest: dict[str, int] = {}
    have_answered: set[tuple[str, int, tuple[Way, ...]]] = set()
    events = [(answer.sent_at, 1, answer) for answer in answers]
    events += [(answer.received_at, 0, answer) for answer in answers]
    for _, is_sent, answer in sorted(events, key=lambda event: event[:2]):
        key = answer.node, answer.plan_offset, judge.ways(answer)
        if not is_sent:
            newest[answer.node] = max(newest.get(answer.node, -1), answer.plan_offset)
            is_sure = sum(way.routed_by != STANDBY for way in key[2]) == 1
            if is_sure and judge.is_meant(answer) and judge.was_wanted_all_along(answer):
                have_answered.add(key)
            continue
        if answer.plan_offset < newest.get(answer.node, -1):
            yield f"routed by an older plan than the node had, {newest[answer.node]}: {answer}"
        if key in have_answered and not judge.is_meant(answer):
            yield f"something stood in for what had answered already: {answer}"
