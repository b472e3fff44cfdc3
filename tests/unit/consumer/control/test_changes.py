"""Wishes, folders and the plan become as few events as there can be, in an order that serves on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.control.changes import (
    Change,
    Offer,
    Publish,
    Retire,
    check,
    find_changes,
    pick,
)
from headrace.consumer.core.errors import ChangeConflict, InvalidRequest
from headrace.consumer.core.plan import ControlEvent, Plan, fold
from headrace.consumer.core.repository import ModelWish
from headrace.publisher.errors import InvalidArgument, VersionConflict
from headrace.schemas.records import (
    Batching,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    VersionPolicy,
    config_key,
    version_key,
)

LATEST, ALL = VersionPolicy(), VersionPolicy(kind=PolicyKind.ALL)
NUMBERS = st.sets(st.integers(min_value=1, max_value=6))


POLICIES = st.one_of(
    st.just(ALL),
    st.builds(VersionPolicy, latest=st.integers(min_value=1, max_value=3)),
    st.builds(
        VersionPolicy,
        kind=st.just(PolicyKind.SPECIFIC),
        versions=st.lists(st.integers(min_value=1, max_value=6), min_size=1),
    ),
)


def specific(*numbers: int) -> VersionPolicy:
    """Return a policy that names versions."""
    return VersionPolicy(kind=PolicyKind.SPECIFIC, versions=numbers)


def version(number: int, model: str = "m", *, retired: bool = False) -> ModelVersion:
    """Return a version as the log has it; its digest is its number."""
    return ModelVersion(
        model=model,
        version=number,
        uri="",
        digest=str(number),
        size_bytes=0,
        lifecycle=Lifecycle.RETIRED if retired else Lifecycle.PUBLISHED,
    )


def planned(*records: ModelVersion | ModelConfig, onto: Plan | None = None) -> Plan:
    """Return the plan of a log with these records."""
    events = [
        ControlEvent(
            offset,
            version_key(record.model, record.version)
            if isinstance(record, ModelVersion)
            else config_key(record.model),
            record,
        )
        for offset, record in enumerate(records)
    ]
    return fold(onto or Plan(), events)


def wish(
    policy: VersionPolicy = LATEST, labels: Mapping[str, int] | None = None, name: str = "m"
) -> ModelWish:
    """Return the wish for a model."""
    return ModelWish(name=name, base_path="/models", policy=policy, labels=labels or {})


def changes_of(
    wished: ModelWish, folders: Iterable[int], plan: Plan, serving: Iterable[int] = ()
) -> list[Change]:
    """Return the changes for one wish, with folders whose bytes are the log's."""
    picked = pick(wished, set(folders), plan)
    offered = {wished.name: {n: Offer(Path(f"/{n}"), str(n)) for n in picked}}
    return find_changes([wished], offered, plan, {wished.name: set(serving)})


def steps(changes: Iterable[Change], plan: Plan) -> Iterator[Plan]:
    """Yield the plan after each of the changes."""
    for change in changes:
        if isinstance(change, ModelConfig):
            plan = planned(change, onto=plan)
        else:
            is_retired = isinstance(change, Retire)
            plan = planned(version(change.version, change.model, retired=is_retired), onto=plan)
        yield plan


def numbers(changes: Iterable[Change], kind: type[Publish | Retire]) -> list[int]:
    """Return the version numbers of the changes of one kind, in order."""
    return [change.version for change in changes if isinstance(change, kind)]


@given(
    folders=NUMBERS.filter(len),
    there=NUMBERS,
    retired=NUMBERS,
    policies=st.tuples(POLICIES, POLICIES),
)
def test_log_then_asks_for_what_the_policy_picks_of_the_folders(
    folders: set[int],
    there: set[int],
    retired: set[int],
    policies: tuple[VersionPolicy, VersionPolicy],
) -> None:
    """Whatever it said before, never for nothing on the way; and then nothing is left to write."""
    before, policy = policies
    plan = planned(
        *(version(number) for number in there),
        *(version(number, retired=True) for number in retired - there),
        ModelConfig(model="m", policy=before),
    )
    if policy.kind is PolicyKind.SPECIFIC and folders.isdisjoint(policy.versions):
        return
    picked = pick(wish(policy), folders, Plan())
    is_serving = bool(plan.models["m"].wanted())
    for then in steps(changes_of(wish(policy), folders, plan), plan):
        plan = then
        assert plan.models["m"].wanted() or not is_serving
    named = there & set(policy.versions)
    assert plan.models["m"].wanted() == named.union(picked)
    assert changes_of(wish(policy), folders, plan) == []


def test_highest_comes_first_and_goes_last() -> None:
    """Else LATEST would load those on the way."""
    plan = planned(version(1, "gone"), version(2, "gone"), version(9, "gone", retired=True))
    changes = changes_of(wish(ALL), [2, 10, 9], plan)
    assert numbers(changes, Publish) == [10, 9, 2]
    assert [change for change in changes if isinstance(change, Retire)] == [
        Retire("gone", 1),
        Retire("gone", 2),
    ]


def test_folder_that_is_gone_rolls_back_and_unloads_nothing_that_stays() -> None:
    """What is newer in the log than in the folders goes; what the policy drops may stay."""
    plan = planned(*(version(number) for number in (1, 2, 3)))
    assert changes_of(wish(), [1, 2], plan) == [Retire("m", 3)]
    assert numbers(changes_of(wish(ALL), [2], plan), Retire) == [1, 3]
    assert numbers(changes_of(wish(specific(2)), [2], plan), Retire) == []
    plan = planned(ModelConfig(model="m", policy=ALL), onto=plan)
    latest = VersionPolicy(latest=2)
    wanted = [p.models["m"].wanted() for p in steps(changes_of(wish(latest), [1, 2], plan), plan)]
    assert wanted == [{1, 2}, {1, 2}]


def test_version_named_by_the_policy_may_be_in_the_log_alone() -> None:
    """A number that is nowhere is passed over, as long as another one is somewhere."""
    plan = planned(version(3))
    assert numbers(changes_of(wish(specific(3, 8)), [], plan), Publish) == []
    with pytest.raises(InvalidRequest, match="policy specific:4 picks found under base path"):
        changes_of(wish(specific(4)), [3], plan)
    with pytest.raises(InvalidRequest, match="/models/1"):
        changes_of(wish(), [], plan)


def test_configuration_keeps_what_the_wish_does_not_say() -> None:
    """Policy and labels are replaced, and equal ones are no reason to write."""
    config = ModelConfig(
        model="m",
        policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=[2, 1]),
        labels={"stable": 1},
        split={"1": 100},
        batching=Batching(max_rows=7),
    )
    plan = planned(version(1), version(2), config)
    same = wish(specific(1, 2), {"stable": 1})
    assert changes_of(same, [1, 2], plan, [1, 2]) == []
    (changed,) = changes_of(wish(ALL), [1, 2], plan)
    assert changed == ModelConfig(
        model="m", policy=ALL, split={"1": 100}, batching=Batching(max_rows=7)
    )


@pytest.mark.parametrize(
    ("label", "is_allowed"), [(1, True), (2, False), (3, True), (4, False), (5, False)]
)
def test_label_names_what_serves_or_comes(label: int, *, is_allowed: bool) -> None:
    """1 serves, 2 is published only, 3 comes, 4 serves and is retired, 5 is not picked."""
    plan = planned(version(1), version(2), version(4, retired=True))
    wished = wish(specific(3), {"stable": label})
    if is_allowed:
        assert changes_of(wished, [3, 5], plan, [1, 4])[0] == Publish("m", 3, Path("/3"))
        return
    with pytest.raises(ChangeConflict, match="not currently available for inference"):
        changes_of(wished, [3, 5], plan, [1, 4])


def test_number_means_the_same_bytes_for_ever() -> None:
    """Also for a version that is retired, in the publisher's words."""
    plan = planned(version(1, retired=True))
    offered = {"m": {1: Offer(Path("/1"), "other")}}
    with pytest.raises(VersionConflict, match="was published with other bytes"):
        find_changes([wish()], offered, plan, {})
    with pytest.raises(InvalidArgument, match="version 0 is not allowed"):
        changes_of(wish(), [0], plan)


def test_wishes_are_checked_by_themselves() -> None:
    """Names, platforms, and what the configuration would look like."""
    split = ModelConfig(model="m", labels={"stable": 1}, split={"stable": 100})
    foreign = ModelVersion(model="m", version=1, platform="onnx", uri="", digest="1", size_bytes=0)
    for wishes, plan, words in [
        ([wish(), wish()], Plan(), "Illegal to list model m multiple times"),
        ([ModelWish(name="m", base_path="/", platform="caffe")], Plan(), "'caffe'"),
        ([wish()], planned(foreign), "For model m platform was onnx"),
        ([wish()], planned(split), "label 'stable' is still arm 'stable'"),
        ([wish(labels={"1": 1})], Plan(), "label '1' is not allowed"),
        ([wish(specific())], Plan(), "names no version"),
        ([wish(name="")], Plan(), "model name '' is not allowed"),
    ]:
        with pytest.raises((InvalidRequest, InvalidArgument), match=words):
            check(wishes, plan)
    check([wish(), wish(name="other")], planned(version(1)))
