"""The checker tells answers that the plan allowed from each kind that it did not: evidence doctored
by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import pytest

from headrace.publisher.history import ControlEntry
from headrace.schemas.cohorts import allocate
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    VersionPolicy,
    config_key,
    version_key,
)
from tests.e2e.allowed import Answered, Asked, Settled, flaws
from tests.e2e.wishes import History, own_arm

LABELS: Final = {"stable": 1, "canary": 2}


def published(number: int, model: str = "m", lifecycle: Lifecycle = Lifecycle.PUBLISHED) -> Record:
    """Return the event of a version."""
    return ModelVersion(
        model=model,
        version=number,
        uri="",
        digest=f"{model}{number}",
        size_bytes=0,
        lifecycle=lifecycle,
    )


def configured(
    labels: Mapping[str, int] | None = None,
    split: Mapping[str, int] | None = None,
    policy: VersionPolicy | None = None,
    model: str = "m",
) -> Record:
    """Return the event of a configuration, with its cohorts."""
    return ModelConfig(
        model=model,
        labels=labels or {},
        split=split or {},
        policy=policy or VersionPolicy(),
        cohorts=allocate(split or {}),
    )


Record = ModelVersion | ModelConfig

LOG: Final[Sequence[Record]] = (
    published(1),  # 0
    published(2),  # 1
    configured(LABELS),  # 2
    configured(LABELS, {"stable": 50, "canary": 50}),  # 3
    published(3),  # 4
    configured(LABELS | {"canary": 3}, {"stable": 50, "canary": 50}),  # 5
    published(1, "rival"),  # 6
    configured(split={"m": 50, "rival": 50}, model="front"),  # 7
    configured(LABELS, {"stable": 100, "canary": 0}),  # 8
    configured(LABELS, policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=[1])),  # 9
    published(3, lifecycle=Lifecycle.RETIRED),  # 10
)


def history() -> History:
    """Return the log as it is read."""
    return History([_entry(offset, record) for offset, record in enumerate(LOG)])


def _entry(offset: int, record: Record) -> ControlEntry:
    if isinstance(record, ModelConfig):
        key = config_key(record.model)
    else:
        key = version_key(record.model, record.version)
    return ControlEntry(offset=offset, timestamp_ms=0, key=key, record=record)


def key_of(arm: str, model: str = "m", at: int = 3) -> bytes:
    """Return a key in the cohort of an arm."""
    config = history().at(at)[model].config
    return next(k for n in range(10_000) if own_arm(config, k := b"user-%d" % n) == arm)


def answer(
    asked: Asked, plan: int, version: int, why: str, arm: str = "", *, model: str = "m"
) -> Answered:
    """Return a sound answer to a request that was sent at 10 and answered at 11."""
    brought = {("m", 1): 0, ("m", 2): 1, ("m", 3): 4, ("rival", 1): 6}
    return Answered(
        asked=asked,
        sent_at=10,
        received_at=11,
        node="n",
        model=model,
        version=version,
        digest=f"{model}{version}",
        control_offset=brought[model, version],
        plan_offset=plan,
        routed_by=why,
        arm=arm,
        computed_by=(model, version),
    )


def found(*answers: Answered, settled: Sequence[Settled] = ()) -> list[str]:
    """Return what the checker finds, without the answers."""
    return [flaw.rpartition(": Answered")[0] for flaw in flaws(history(), settled, answers)]


STABLE, CANARY = key_of("stable"), key_of("canary")
FRONT = next(
    key
    for key in (b"user-%d" % n for n in range(10_000))
    if own_arm(history().at(7)["front"].config, key) == "m"
    and own_arm(history().at(7)["m"].config, key) == "canary"
)
RIVAL = key_of("rival", "front", 7)

RIGHT: Final[Mapping[str, Answered]] = {
    "a version": answer(Asked("m", version=2), 2, 2, "version"),
    "a label": answer(Asked("m", label="canary"), 2, 2, "label"),
    "a label that waits for its version": answer(Asked("m", label="canary"), 5, 2, "label"),
    "a label that has moved": answer(Asked("m", label="canary"), 5, 3, "label"),
    "the latest": answer(Asked("m"), 2, 2, "latest"),
    "what is being replaced": answer(Asked("m"), 1, 1, "latest"),
    "the key's own arm": answer(Asked("m", affinity=CANARY), 3, 2, "split", "canary"),
    "the arm's earlier target": answer(Asked("m", affinity=CANARY), 5, 2, "split", "canary"),
    "another arm that stands by": answer(Asked("m", affinity=CANARY), 3, 1, "standby", "stable"),
    "any arm, without a key": answer(Asked("m"), 3, 2, "split", "canary"),
    "an arm of an arm": answer(Asked("front", affinity=FRONT), 7, 3, "split", "m/canary"),
    "another model": answer(Asked("front", affinity=RIVAL), 7, 1, "split", "rival", model="rival"),
    "a plan as new as asked": answer(
        Asked("m", affinity=CANARY, min_offset=3), 5, 3, "split", "canary"
    ),
    "an earlier wish": answer(Asked("m"), 9, 3, "latest"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_an_answer_that_the_plan_allowed_is_right(name: str) -> None:
    """While nobody knows that the nodes have settled, what was meant before is allowed as well."""
    assert found(RIGHT[name]) == []


Change = Callable[[Answered], Answered]


@pytest.mark.parametrize(
    ("name", "changes", "flaw"),
    [
        ("a version", {"version": 1, "control_offset": 0}, "computed by another"),
        ("a version", {"computed_by": ("m", 3)}, "computed by another"),
        ("a version", {"plan_offset": 99}, "control record that there is not"),
        ("a version", {"control_offset": 0}, "not of an event of this version"),
        ("a version", {"digest": "forged"}, "not that of the event"),
        ("a version", {"plan_offset": 0}, "came later than the plan"),
        ("a version", {"routed_by": "latest"}, "a way that the plan does not have"),
        ("a label", {"asked": Asked("m", label="stable")}, "did not want, nor before"),
        ("a label that has moved", {"plan_offset": 4}, "did not want, nor before"),
        ("the key's own arm", {"asked": Asked("m", affinity=STABLE)}, "way that the plan does not"),
        ("the key's own arm", {"arm": "stable"}, "way that the plan does not have"),
        ("the key's own arm", {"plan_offset": 8}, "way that the plan does not have"),
        ("another arm that stands by", {"routed_by": "split"}, "way that the plan does not have"),
        ("any arm, without a key", {"plan_offset": 8}, "way that the plan does not have"),
        ("an arm of an arm", {"arm": "canary"}, "way that the plan does not have"),
        ("another model", {"asked": Asked("front", affinity=FRONT)}, "way that the plan does not"),
        ("a plan as new as asked", {"plan_offset": 2}, "came later than the plan|older plan"),
        ("the latest", {"asked": Asked("m", min_offset=3)}, "older plan than 3"),
    ],
)
def test_an_answer_that_the_plan_did_not_allow_is_found(
    name: str, changes: dict[str, object], flaw: str
) -> None:
    """One thing is wrong with each."""
    (words,) = found(_changed(RIGHT[name], changes))
    assert any(part in words for part in flaw.split("|"))


def _changed(right: Answered, changes: dict[str, object]) -> Answered:
    wrong: Answered = replace(right, **changes)  # type: ignore[arg-type]
    return wrong


@pytest.mark.parametrize(
    "name",
    [
        "a label that waits for its version",
        "what is being replaced",
        "the arm's earlier target",
        "another arm that stands by",
        "an earlier wish",
    ],
)
def test_nothing_stands_in_for_anything_once_the_nodes_have_settled(name: str) -> None:
    """Nor for a request that asks for the plan of its day."""
    right = RIGHT[name]
    assert found(right, settled=[Settled(right.plan_offset, 10.5)]) == []
    (words,) = found(right, settled=[Settled(right.plan_offset, 9.5)])
    assert "nothing may stand in" in words
    (words,) = found(replace(right, asked=right.asked._replace(min_offset=0)))
    assert "nothing may stand in" in words


def test_what_was_let_go_before_the_nodes_settled_does_not_come_back() -> None:
    """What may stand in is what was meant since then."""
    stale = answer(Asked("m", label="canary"), 7, 2, "label")
    assert found(stale, settled=[Settled(4, 5.0)]) == []
    (words,) = found(stale, settled=[Settled(6, 5.0)])
    assert "did not want, nor before" in words


def test_a_node_does_not_forget_a_plan() -> None:
    """A request that was sent after an answer is routed by the same plan or a later one."""
    first = RIGHT["a label that has moved"]
    later = replace(RIGHT["a version"], sent_at=12, received_at=13)
    (words,) = found(first, later)
    assert "older plan than the node had, 5" in words
    assert found(first, replace(later, node="another")) == []
    assert found(first, replace(later, sent_at=10.5)) == []


def test_nothing_stands_in_for_what_has_answered() -> None:
    """Under one plan, a node that has given the right answer keeps to it; others may be later."""
    meant = answer(Asked("m", affinity=CANARY), 5, 3, "split", "canary")
    stale = replace(RIGHT["the arm's earlier target"], sent_at=12, received_at=13)
    assert found(stale, meant) != []
    assert found(replace(stale, sent_at=9), meant) == []
    assert found(replace(stale, node="another"), meant) == []
