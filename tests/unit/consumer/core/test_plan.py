"""The fold of the control log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headrace.consumer.core.plan import ControlEvent, Plan, PlannedModel, fold
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    VersionPolicy,
    config_key,
    version_key,
)


def version(model: str, number: int, *, retired: bool = False, digest: str = "d") -> ModelVersion:
    """Return a version record with what the plan looks at."""
    return ModelVersion(
        model=model,
        version=number,
        uri="file:///store",
        digest=digest,
        size_bytes=1,
        lifecycle=Lifecycle.RETIRED if retired else Lifecycle.PUBLISHED,
    )


def events(*records: ModelVersion | ModelConfig | bytes) -> list[ControlEvent]:
    """Return the records as a log; bytes stand for a tombstone of that key."""
    log: list[ControlEvent] = []
    for offset, record in enumerate(records):
        match record:
            case ModelVersion():
                log.append(ControlEvent(offset, version_key(record.model, record.version), record))
            case ModelConfig():
                log.append(ControlEvent(offset, config_key(record.model), record))
            case bytes():
                log.append(ControlEvent(offset, record, None))
    return log


def policy(kind: PolicyKind, *, latest: int = 1, versions: Sequence[int] = ()) -> ModelConfig:
    """Return a configuration of model m with this policy."""
    return ModelConfig(model="m", policy=VersionPolicy(kind=kind, latest=latest, versions=versions))


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (None, {5}),
        (policy(PolicyKind.LATEST, latest=2), {5, 3}),
        (policy(PolicyKind.LATEST, latest=0), {5}),
        (policy(PolicyKind.LATEST, latest=9), {5, 3, 1}),
        (policy(PolicyKind.SPECIFIC, versions=[1, 4, 77]), {1}),
        (policy(PolicyKind.SPECIFIC), set[int]()),
        (policy(PolicyKind.ALL), {5, 3, 1}),
        (ModelConfig(model="m", labels={"stable": 1, "gone": 99}), {5, 1}),
    ],
)
def test_policy_chooses_among_published_versions(
    config: ModelConfig | None, wanted: set[int]
) -> None:
    """Each policy row picks from 1, 3 and 5; 4 is retired and 99 was never published."""
    records = [version("m", 3), version("m", 5), version("m", 1), version("m", 4, retired=True)]
    plan = fold(Plan(), events(*records, *([config] if config else [])))
    assert plan.models["m"].wanted() == wanted


def test_next_lower_version_fills_in_for_a_failed_one() -> None:
    """A failed newest version stays wanted and does not use up the policy's number."""
    plan = fold(Plan(), events(*(version("m", n) for n in (1, 2, 3))))
    assert plan.models["m"].wanted(failed=[3]) == {3, 2}
    assert plan.models["m"].wanted(failed=[3, 2]) == {3, 2, 1}
    assert plan.models["m"].wanted(failed=[1]) == {3}


def test_old_number_arriving_late_changes_nothing_wanted() -> None:
    """Order of publication does not matter to LATEST, only the numbers do."""
    plan = fold(Plan(), events(version("m", 9), version("m", 2)))
    assert plan.models["m"].wanted() == {9}


def test_tombstones_forget_their_key_and_an_empty_model_is_gone() -> None:
    """A version's and a configuration's tombstone each remove just that."""
    log = events(version("m", 1), ModelConfig(model="m"), version_key("m", 1))
    assert fold(Plan(), log).models["m"].versions == {}
    assert "m" not in fold(Plan(), [*log, ControlEvent(3, config_key("m"), None)]).models


def test_tombstones_of_unknown_keys_are_harmless() -> None:
    """Foreign keys, bytes that are no text and versions never met leave the plan alone."""
    strange = [b"", b"\xff\xfe", b"version/m", b"version/m/x", b"version/q/1", b"model/q"]
    plan = fold(Plan(), events(version("m", 1), *strange))
    assert set(plan.models) == {"m"}
    assert plan.offset == len(strange)


def test_fold_leaves_the_plan_it_started_from_unchanged() -> None:
    """An old plan can be kept and compared with the new one, model by model."""
    old = fold(Plan(), events(version("m", 1), version("n", 1)))
    new = fold(old, [ControlEvent(7, version_key("m", 2), version("m", 2))])
    assert set(old.models["m"].versions) == {1}
    assert set(new.models["m"].versions) == {1, 2}
    assert new.models["n"] is old.models["n"]


def test_a_model_without_versions_wants_nothing() -> None:
    """A configuration may precede the first version."""
    assert PlannedModel("m", config=ModelConfig(model="m", labels={"s": 1})).wanted() == set()
