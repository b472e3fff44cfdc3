"""When has the fleet settled an event? The rules of `wait`, as pure functions of the fleet.

A node writes the statuses that follow from a control record before the heartbeat that carries the
record's offset, into one partition. So once a heartbeat has passed the event, what the node last
said of the version is its answer to the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from headrace.publisher.errors import NotWanted, RefusedByNode
from headrace.publisher.fleet import Fleet, NodeView
from headrace.schemas.records import ServableState

Wait = Literal["any", "fleet"]
_LOADING = (ServableState.START, ServableState.LOADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The control record that is waited for: a version, and where its record stands.

    `policy` is the model's version policy in words, for the message when a node does not want it.
    """

    model: str
    version: int
    offset: int
    policy: str = ""

    @property
    def words(self) -> str:
        """What is waited for, in words."""
        return f"version {self.version} of {self.model!r}"

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that the wait is about."""
        return (self.version,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The control record that is waited for: a configuration, and the versions that it wants."""

    model: str
    versions: Sequence[int]
    offset: int

    @property
    def words(self) -> str:
        """What is waited for, in words."""
        return f"the configuration of {self.model!r}"


class Verdict(Enum):
    """What one node makes of an event."""

    SERVES = "serves"
    PENDING = "pending"
    REFUSES = "refuses"
    UNWANTED = "unwanted"
    SKIPS = "skips"


_FAILED = (Verdict.REFUSES, Verdict.UNWANTED, Verdict.SKIPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One node's verdict, and its state in words."""

    node: str
    verdict: Verdict
    words: str


def judge(node: NodeView, event: Event) -> Judgement:
    """Return what `node` makes of a published version."""
    skipped = node.skipped(event.offset)
    verdict, words = (Verdict.SKIPS, skipped) if skipped else _answer(node, event)
    return Judgement(node=node.name, verdict=verdict, words=words)


def _answer(node: NodeView, event: Event) -> tuple[Verdict, str]:
    status = node.servable(event.model, event.version)
    has_applied = node.control_offset >= event.offset
    is_news = status is not None and status.control_offset >= event.offset
    if not (is_news or has_applied):
        return Verdict.PENDING, _not_applied(node)
    if status is None:
        return Verdict.UNWANTED, "applied the event and did not load the version"
    if status.state is ServableState.AVAILABLE:
        return Verdict.SERVES, "AVAILABLE"
    if status.state in _LOADING:
        failed = f", last error: {status.error}" if status.error else ""
        return Verdict.PENDING, f"{status.state} (attempt {status.attempt}{failed})"
    if is_news and status.state is ServableState.END and status.error:
        return Verdict.REFUSES, status.error
    is_over = has_applied or status.state is ServableState.END
    return (
        Verdict.UNWANTED if is_over else Verdict.PENDING,
        f"applied the event and has the version in state {status.state}",
    )


def _not_applied(node: NodeView) -> str:
    return f"has not applied the event yet (it is at offset {node.control_offset})"


def published(fleet: Fleet, event: Event, wait: Wait, now_ms: int) -> list[str] | None:
    """Return the nodes that serve the version once the wait is over; None while it is not.

    Raises:
        RefusedByNode: a node failed, or did not believe the event (`fleet`); or every live node
            (`any`).
        NotWanted: the same, because the version policy leaves the version out.
    """
    judgements = [judge(node, event) for node in fleet.live(now_ms)]
    serving = [j.node for j in judgements if j.verdict is Verdict.SERVES]
    failed = [j for j in judgements if j.verdict in _FAILED]
    if wait == "any":
        if serving:
            return serving
        if failed and len(failed) == len(judgements):
            raise _failure(failed, event)
        return None
    if failed:
        raise _failure(failed, event)
    return serving if serving and len(serving) == len(judgements) else None


def configured(fleet: Fleet, event: Wanted, now_ms: int) -> list[str] | None:
    """Return the live nodes once all have applied it and serve its versions; None until then.

    Raises:
        RefusedByNode: a node skipped it, or has applied it and failed to load one of the versions.
    """
    live = fleet.live(now_ms)
    for node in live:
        if refused := node.skipped(event.offset):
            raise RefusedByNode(
                node.name,
                refused,
                f"node {node.name} {refused}: the configuration of {event.model!r} is not in force",
            )
        for version in event.versions if node.control_offset >= event.offset else ():
            status = node.servable(event.model, version)
            if status and status.state is ServableState.END and status.error:
                one = Event(model=event.model, version=version, offset=event.offset)
                failed = Judgement(node=node.name, verdict=Verdict.REFUSES, words=status.error)
                raise _failure([failed], one)
    return [node.name for node in live] if live and not _behind(live, event) else None


def behind(fleet: Fleet, event: Wanted, now_ms: int) -> str:
    """Return in words which live nodes do not follow the configuration yet."""
    return "; ".join(_behind(fleet.live(now_ms), event))


def _behind(live: Sequence[NodeView], event: Wanted) -> list[str]:
    words: list[str] = []
    for node in live:
        if node.control_offset < event.offset:
            words.append(f"node {node.name}: {_not_applied(node)}")
            continue
        for version in event.versions:
            status = node.servable(event.model, version)
            # One that was let go comes back once it has ended.
            if status is None or status.state is not ServableState.AVAILABLE:
                state = status.state if status else "not there"
                words.append(f"node {node.name}: version {version} is {state}")
    return words


def retired(fleet: Fleet, event: Event, now_ms: int) -> list[str] | None:
    """Return the live nodes once none of them holds the version any more; None until then."""
    live = fleet.live(now_ms)
    return [node.name for node in live] if live and not _holding(live, event) else None


def unsettled(fleet: Fleet, event: Event, now_ms: int) -> str:
    """Return in words which live nodes do not serve the version yet, and what they do instead."""
    judgements = [judge(node, event) for node in fleet.live(now_ms)]
    waiting = [j for j in judgements if j.verdict is not Verdict.SERVES]
    return "; ".join(f"node {j.node}: {j.words}" for j in waiting)


def holding(fleet: Fleet, event: Event, now_ms: int) -> str:
    """Return in words which live nodes may still hold the version."""
    return "; ".join(_holding(fleet.live(now_ms), event))


def _holding(live: Sequence[NodeView], event: Event) -> list[str]:
    words: list[str] = []
    for node in live:
        status = node.servable(event.model, event.version)
        if node.control_offset < event.offset:
            words.append(f"node {node.name}: {_not_applied(node)}")
        elif status is not None and status.state is not ServableState.END:
            refused = node.skipped(event.offset)
            words.append(f"node {node.name}: {status.state}{f', {refused}' if refused else ''}")
    return words


def _failure(failed: Sequence[Judgement], event: Event) -> RefusedByNode | NotWanted:
    refusals = [j for j in failed if j.verdict is not Verdict.UNWANTED]
    first = refusals[0] if refusals else failed[0]
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    what = event.words
    if first.verdict is Verdict.SKIPS:
        return RefusedByNode(
            first.node,
            first.words,
            f"node {first.node}{others} {first.words}: {what} is not served",
        )
    if refusals:
        return RefusedByNode(
            first.node,
            first.words,
            f"node {first.node}{others} could not load {what}: {first.words}: the event stays in "
            f"the log; fix the model and publish the next version, or retire this one",
        )
    policy = f" ({event.policy})" if event.policy else ""
    return NotWanted(
        first.node,
        f"node {first.node}{others} {first.words}: its version policy{policy} does not want "
        f"{what}: {_advice(event)}",
    )


def _advice(event: Event) -> str:
    if event.policy.startswith("specific"):  # A higher number would change nothing.
        return f"let new versions in with 'headrace unpin {event.model}'"
    return (
        "publish a higher number, or change the policy with 'headrace config "
        f"{event.model} --policy …'"
    )
