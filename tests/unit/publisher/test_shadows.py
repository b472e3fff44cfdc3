"""Which shadows make sense, by themselves and given what the log says."""

from __future__ import annotations

import pytest

from headrace.publisher.configuration import ConfigChange, check
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.history import ControlEntry
from headrace.publisher.known import Known
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    Shadow,
    Tolerance,
    config_key,
    version_key,
)

NAN, INF = float("nan"), float("inf")
LABELS = {"stable": 3}


def config(target: str, fraction: float = 1.0, **tolerances: Tolerance) -> ModelConfig:
    """Return a configuration of ranker with a shadow."""
    shadow = Shadow(target=target, fraction=fraction, tolerances=tolerances)
    return ModelConfig(model="ranker", labels=LABELS, shadow=shadow)


@pytest.mark.parametrize(
    "target", ["stable", "4", "other", "other@7", "other@canary", "ranker@stable", "ranker@4"]
)
def test_takes_what_an_arm_may_be(target: str) -> None:
    """A label, a version, another model, or a label or version of it."""
    check(config(target, 0.001, y=Tolerance(absolute=1.0, relative=0.5)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (config("ranker"), "is what it would mirror"),
        (config("other@"), "names nothing behind '@'"),
        (config("a b"), "neither a label nor a version"),
        (config(""), "neither a label nor a version"),
        (config("4", 0.0), "fraction 0 is not allowed"),
        (config("4", 1.5), "fraction 1.5"),
        (config("4", NAN), "fraction nan"),
        (config("4", y=Tolerance(absolute=-1.0)), "tolerance -1 of y"),
        (config("4", y=Tolerance(relative=INF)), "tolerance inf of y"),
        (config("4", y=Tolerance(absolute=NAN)), "tolerance nan of y"),
    ],
)
def test_refuses_what_makes_no_sense(wrong: ModelConfig, words: str) -> None:
    """With the value at fault and what would be right."""
    with pytest.raises(InvalidArgument, match=words):
        check(wrong)


def test_a_change_leaves_what_it_does_not_name() -> None:
    """Target, share and tolerances are changed one by one; an empty target ends the shadow."""
    tolerances = {"": Tolerance(absolute=1.0)}
    change = ConfigChange(model="m", shadow_target="n", shadow_fraction=0.5)
    begun = change.apply(ModelConfig(model="m"))
    assert begun.shadow == Shadow(target="n", fraction=0.5)
    told = ConfigChange(model="m", shadow_tolerances=tolerances).apply(begun)
    turned = ConfigChange(model="m", shadow_target="o").apply(told)
    assert turned.shadow == Shadow(target="o", fraction=0.5, tolerances=tolerances)
    assert ConfigChange(model="m", replicas=2).apply(turned).shadow == turned.shadow
    ended = ConfigChange(model="m", shadow_target="").apply(turned)
    assert ended.shadow is None
    assert ConfigChange(model="m", shadow_target="").apply(ended).shadow is None
    with pytest.raises(InvalidArgument, match="has no shadow"):
        ConfigChange(model="m", shadow_fraction=0.5).apply(ended)


def version(model: str, number: int, lifecycle: Lifecycle = Lifecycle.PUBLISHED) -> ModelVersion:
    """Return a version of a model."""
    return ModelVersion(
        model=model, version=number, uri="", digest="d", size_bytes=1, lifecycle=lifecycle
    )


def known(*records: ModelVersion | ModelConfig) -> Known:
    """Return what a log of these records says."""
    return Known.of(
        [
            ControlEntry(
                offset=offset,
                timestamp_ms=0,
                key=config_key(record.model)
                if isinstance(record, ModelConfig)
                else version_key(record.model, record.version),
                record=record,
            )
            for offset, record in enumerate(records)
        ]
    )


LOG = known(
    version("ranker", 3),
    version("ranker", 2, Lifecycle.RETIRED),
    version("other", 7),
    ModelConfig(model="other", labels={"canary": 7}),
    ModelConfig(model="alias", split={"ranker": 1}),
    version("gone", 1, Lifecycle.RETIRED),
)


@pytest.mark.parametrize("target", ["stable", "3", "other", "other@7", "other@canary", "alias"])
def test_a_target_that_can_answer_may_be_written(target: str) -> None:
    """A published version, a label, a model that has one, an alias."""
    LOG.check_shadow(config(target))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("4", "version 4 of 'ranker' is not published"),
        ("2", "version 2 of 'ranker' is not published"),
        ("nobody", "model 'nobody' has no version that is published"),
        ("gone", "model 'gone' has no version that is published"),
        ("other@8", "version 8 of 'other' is not published"),
        ("other@stable", "model 'other' has no label 'stable'"),
    ],
)
def test_a_target_that_cannot_answer_is_refused(target: str, words: str) -> None:
    """Before it is written, by name."""
    with pytest.raises(InvalidArgument, match=words):
        LOG.check_shadow(config(target))


def test_a_target_that_went_away_does_not_stop_other_changes() -> None:
    """What the log says already may stay."""
    log = known(config("nobody"))
    log.check_shadow(config("nobody", 0.5))
    with pytest.raises(InvalidArgument):
        log.check_shadow(config("nobody2"))
