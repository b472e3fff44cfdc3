"""What a configuration may point at, given what the log says."""

from __future__ import annotations

import pytest

from headrace.publisher.configuration import ConfigChange
from headrace.publisher.errors import InvalidArgument, StillUsed
from headrace.publisher.reconfiguring import reconfigure
from headrace.publisher.references import check_references, check_unused
from headrace.schemas.records import ModelConfig, PolicyKind, VersionPolicy
from tests.fakes.control_log import LogInMemory


def specific(*versions: int) -> VersionPolicy:
    """Return the policy that wants these versions."""
    return VersionPolicy(kind=PolicyKind.SPECIFIC, versions=versions)


@pytest.fixture
def log() -> LogInMemory:
    """Model m with versions 1, 2 and 3 (4 retired), two other models, two aliases."""
    log = LogInMemory()
    for number in (1, 2, 3):
        log.version(number)
    log.version(4, retired=True)
    log.config(ModelConfig(model="m", labels={"stable": 2, "canary": 3}))
    log.version(1, "gbdt")
    log.version(2, "gbdt")
    log.config(ModelConfig(model="gbdt", labels={"good": 1}))
    log.version(1, "stable")
    log.version(1, "gone", retired=True)
    log.config(ModelConfig(model="alias", split={"gbdt": 1, "m@stable": 1}))
    log.config(ModelConfig(model="over", split={"alias": 1}))
    return log


@pytest.mark.parametrize(
    "wish",
    [
        ConfigChange(model="m", policy=specific(1, 3)),
        ConfigChange(model="m", labels={"next": 1}, split={"next": 5, "canary": 95}),
        ConfigChange(model="m", split={"1": 1, "gbdt": 1, "gbdt@good": 1, "gbdt@2": 1}),
        ConfigChange(model="m", split={"m": 1, "m@stable": 1, "m@1": 0}),
        ConfigChange(model="new", split={"alias": 1, "m": 1}),
        ConfigChange(model="m", unlabel=["canary"]),
        ConfigChange(model="alias", split={}),
    ],
    ids=str,
)
def test_takes_what_is_there(log: LogInMemory, wish: ConfigChange) -> None:
    """Labels, versions, models, and labels and versions of models."""
    reconfigure(log.known, wish)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (ConfigChange(model="m", policy=specific(1, 9)), "policy means version 9.*never published"),
        (ConfigChange(model="m", policy=specific(4)), r"4 of 'm', which was retired.*: 1, 2, 3"),
        (ConfigChange(model="m", labels={"x": 9}), "label 'x' means version 9.*never published"),
        (ConfigChange(model="m", labels={"stable": 4}), "label 'stable' means.*was retired"),
        (ConfigChange(model="m", split={"nobody": 1}), "arm 'nobody' is neither a label of 'm' .*"),
        (ConfigChange(model="m", split={"9": 1}), "arm '9' means version 9 .*never published"),
        (ConfigChange(model="m", split={"m@4": 1}), "arm 'm@4' means version 4 .*retired"),
        (ConfigChange(model="m", split={"m@x": 1}), "label that 'm' does not have.*canary, stable"),
        (ConfigChange(model="m", split={"gbdt@x": 1}), "'gbdt' does not have: its labels are good"),
        (ConfigChange(model="m", split={"gbdt@9": 1}), "version 9 of 'gbdt'"),
        (ConfigChange(model="m", split={"gone": 1}), "'gone' is neither"),
        (ConfigChange(model="m", split={"gone@1": 1}), "was retired"),
        (
            ConfigChange(model="m", split={"stable": 1}),
            "both a label of 'm' and a model: write",
        ),
        (ConfigChange(model="x", split={"x": 1}), "arm 'x' is neither"),
        (ConfigChange(model="gbdt", split={"over": 1}), "gbdt → over → alias → gbdt"),
        (ConfigChange(model="alias", split={"over": 1, "m": 1}), "alias → over → alias"),
        (ConfigChange(model="m", unlabel=["stable"]), "still arm 'm@stable' of the split of 'ali"),
    ],
    ids=str,
)
def test_refuses_in_words_what_is_not(log: LogInMemory, wish: ConfigChange, words: str) -> None:
    """The message names what is missing, and what is there instead."""
    with pytest.raises(InvalidArgument, match=words):
        reconfigure(log.known, wish)


def test_other_versions_must_be_wanted_where_they_are(log: LogInMemory) -> None:
    """An arm cannot make another model's policy want a version."""
    log.version(3, "gbdt")
    with pytest.raises(InvalidArgument, match="version 2 of 'gbdt', which its policy does not"):
        reconfigure(log.known, ConfigChange(model="m", split={"gbdt@2": 1}))


def test_a_label_is_not_taken_from_under_an_arm(log: LogInMemory) -> None:
    """The arm would turn into a model of that name, or into nothing."""
    log.take(reconfigure(log.known, ConfigChange(model="m", split={"canary": 1})))
    with pytest.raises(InvalidArgument, match=r"label 'canary' is still arm 'canary' of.*'m'"):
        reconfigure(log.known, ConfigChange(model="m", unlabel=["canary"]))
    reconfigure(log.known, ConfigChange(model="m", unlabel=["canary"], split={}))


def test_what_was_there_before_is_not_questioned_again(log: LogInMemory) -> None:
    """A version that was retired by force is no reason to refuse an unrelated change."""
    log.version(3, retired=True)
    reconfigure(log.known, ConfigChange(model="m", replicas=2))
    with pytest.raises(InvalidArgument, match="label 'canary' means version 3"):
        check_references(log.known.configs["m"], log.known)


@pytest.mark.parametrize(
    ("model", "version", "words"),
    [
        ("m", 2, "in use by its label 'stable': change that"),
        ("m", 1, None),
        ("gbdt", 1, "by its label 'good'"),
        ("gbdt", 2, None),
    ],
)
def test_retiring_asks_who_names_the_version(
    log: LogInMemory, model: str, version: int, words: str | None
) -> None:
    """Labels, policies and splits, also those of other models."""
    if words is None:
        check_unused(model, version, log.known)
        log.take(reconfigure(log.known, ConfigChange(model=model, policy=specific(version))))
        log.config(ModelConfig(model="alias", split={f"{model}@{version}": 1, "odd arm": 1}))
        words = f"its policy and by arm '{model}@{version}' of the split of 'alias'"
    with pytest.raises(StillUsed, match=words):
        check_unused(model, version, log.known)
