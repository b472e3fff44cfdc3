"""What a model served before, told by what is left of the log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.publisher.configuration import ConfigChange, policy_words
from headrace.publisher.errors import InvalidArgument, LogConflict, NothingBefore
from headrace.publisher.known import Known
from headrace.publisher.reconfiguring import pin, reconfigure, unpin
from headrace.publisher.rollback import (
    MAX_EARLIER,
    Step,
    difference,
    is_rollback,
    roll_back,
    timeline,
)
from headrace.schemas.cohorts import allocate
from headrace.schemas.records import (
    Earlier,
    ModelConfig,
    PolicyKind,
    Shadow,
    VersionPolicy,
    config_key,
)
from tests.fakes.control_log import LogInMemory


def log_of(*versions: int) -> LogInMemory:
    """Return a log with these versions of model m, published in this order."""
    log = LogInMemory()
    for number in versions:
        log.version(number)
    return log


def change(log: LogInMemory, wish: ConfigChange) -> Step:
    """Write a change of the configuration."""
    return log.take(reconfigure(log.known, wish))


def undo(log: LogInMemory) -> Step:
    """Roll model m back."""
    return log.take(roll_back(log.known, "m"))


def test_each_rollback_goes_further_back() -> None:
    """Publications need no record of their own; a new version is not served unless unpinned."""
    log = log_of(1, 2, 3)
    assert difference((one := undo(log)).before, one.after) == "3 → 2"
    assert policy_words(one.config.policy) == "specific:2"
    log.version(4)
    assert difference((two := undo(log)).before, two.after) == "2 → 1"
    with pytest.raises(NothingBefore, match=r"before version 1: choose one of .*\(2, 3, 4\)"):
        roll_back(log.known, "m")
    log.take(unpin(log.known, "m"))
    assert difference((three := undo(log)).before, three.after) == "4 → 1"


def test_labels_splits_and_cohorts_come_back() -> None:
    """Every key takes the arm that it had; the policy stays when it wants the same versions."""
    log = log_of(1, 2)
    labels = {"stable": 1, "canary": 2}
    change(log, ConfigChange(model="m", labels=labels, split={"stable": 95, "canary": 5}))
    cohorts = log.known.configs["m"].cohorts
    change(log, ConfigChange(model="m", split={"stable": 50, "canary": 50}))
    change(log, ConfigChange(model="m", replicas=2))
    step = undo(log)
    assert difference(step.before, step.after) == "split canary=50,stable=50 → canary=5,stable=95"
    assert (step.config.cohorts, step.config.policy) == (cohorts, VersionPolicy())
    assert step.config.replicas == 2
    step = undo(log)
    assert (step.after.versions, step.config.labels, step.config.split) == ((2,), {}, {})
    assert undo(log).after.versions == (1,)


def test_an_alias_goes_back_too() -> None:
    """It has no versions; before its first split there was nothing."""
    log = log_of(1)
    log.version(1, "other")
    for weight in (1, 2):
        log.take(reconfigure(log.known, ConfigChange(model="a", split={"m": weight, "other": 1})))
    assert roll_back(log.known, "a").config.split == {"m": 1, "other": 1}
    log.take(roll_back(log.known, "a"))
    with pytest.raises(NothingBefore, match="before split m=1,other=1: see 'headrace history'"):
        roll_back(log.known, "a")


def test_refuses_when_nothing_can_be_served_any_more() -> None:
    """With the reason of each."""
    log = log_of(1, 2)
    log.take(pin(log.known, "m", [1, 2]))
    log.take(pin(log.known, "m", [2]))
    log.version(1, retired=True)
    log.forget(1)
    with pytest.raises(
        NothingBefore,
        match=r"served again: version 1,2: the policy means version 1 .*never .*publish what is",
    ):
        roll_back(log.known, "m")


def test_what_is_retired_is_passed_over_in_words() -> None:
    """The state below it is taken."""
    log = log_of(1, 2, 3)
    log.take(pin(log.known, "m", [2]))
    log.take(pin(log.known, "m", [3]))
    log.version(2, retired=True)
    step = undo(log)
    assert (step.before.versions, step.after.versions) == ((3,), (1,))
    assert [words.partition(":")[0] for words in step.skipped] == ["version 2", "version 2"]


def test_a_version_published_again_counts_from_then() -> None:
    """Its first record is gone once the log is compacted, so it cannot count from that."""
    log = log_of(1, 2, 1)
    with pytest.raises(NothingBefore, match=r"headrace pin m VERSION"):
        roll_back(log.known, "m")
    log = log_of(1, 2)
    log.take(pin(log.known, "m", [2]))
    log.version(2)
    assert timeline(log.known, "m").earlier[-1].versions == (2,)
    assert roll_back(log.known, "m").after.versions == (1,)


def test_shadows_are_not_what_is_served() -> None:
    """A version that only shadows is not rolled back to, and not pinned by a rollback."""
    log = log_of(1, 2, 3)
    log.config(ModelConfig(model="m", shadow=Shadow(target="1")))
    assert log.known.wanted("m") == {1, 3}
    assert timeline(log.known, "m").current.versions == (3,)
    log.version(4)
    step = roll_back(log.known, "m")
    assert (step.after.versions, step.config.policy.versions) == ((3,), (3,))
    assert step.config.shadow == Shadow(target="1")


def test_a_record_carries_the_latest_ten_states() -> None:
    """Older ones are let go."""
    log = log_of(*range(1, 15))
    step = change(log, ConfigChange(model="m", policy=VersionPolicy(kind=PolicyKind.ALL)))
    assert [one.versions for one in step.config.previous] == [(n,) for n in range(5, 15)]
    assert len(step.config.previous) == MAX_EARLIER


def test_cohorts_of_records_without_them_are_kept() -> None:
    """What nodes make of the weights alone is what a change starts from."""
    log = log_of(1, 2)
    log.config(ModelConfig(model="m", split={"1": 50, "2": 50}))
    step = change(log, ConfigChange(model="m", split={"1": 60, "2": 40}))
    assert step.config.cohorts == allocate({"1": 60, "2": 40}, allocate({"1": 50, "2": 50}))
    assert step.config.cohorts != allocate({"1": 60, "2": 40})


def test_pins_and_lets_go() -> None:
    """A pin serves the same under another policy; letting go finds the one before."""
    log = log_of(1, 2, 3)
    change(log, ConfigChange(model="m", policy=VersionPolicy(latest=2)))
    step = log.take(pin(log.known, "m"))
    assert policy_words(step.config.policy) == "specific:2,3"
    assert difference(step.before, step.after) == "nothing that is served changes"
    log.take(pin(log.known, "m", [1]))
    assert unpin(log.known, "m").config.policy == VersionPolicy(latest=2)
    with pytest.raises(InvalidArgument, match="version 9 of 'm', which was never published"):
        pin(log.known, "m", [9])
    with pytest.raises(InvalidArgument, match="version 0 is not allowed"):
        pin(log.known, "m", [0])
    with pytest.raises(LogConflict, match="serves no version that could be pinned"):
        pin(log.known, "other")
    with pytest.raises(InvalidArgument, match="not pinned: its policy is latest:1"):
        unpin(log.known, "other")


def _wish(name: str, number: int) -> ConfigChange | None:
    other = number % 5 + 1
    wishes: dict[str, ConfigChange] = {
        "label": ConfigChange(model="m", labels={"stable": number}),
        "split": ConfigChange(model="m", split={str(number): 3, str(other): number}),
        "unsplit": ConfigChange(model="m", split={}),
        "latest": ConfigChange(model="m", policy=VersionPolicy(latest=number)),
        "all": ConfigChange(model="m", policy=VersionPolicy(kind=PolicyKind.ALL)),
        "replicas": ConfigChange(model="m", replicas=number),
    }
    return wishes.get(name)


def do(log: LogInMemory, name: str, number: int) -> None:
    """Do one thing to model m; what is refused does not happen."""
    wish = _wish(name, number)
    steps: dict[str, Callable[[], Step]] = {
        "rollback": lambda: roll_back(log.known, "m"),
        "pin": lambda: pin(log.known, "m", [number]),
        "unpin": lambda: unpin(log.known, "m"),
    }
    if name in ("publish", "retire"):
        log.version(number, retired=name == "retire")
    elif name == "forget":
        log.forget(number)
    else:
        with suppress(InvalidArgument, LogConflict):
            log.take(steps[name]() if wish is None else reconfigure(log.known, wish))


QUIET = ("publish", "label", "split", "unsplit", "latest", "all", "replicas", "pin", "unpin")
OPS = st.tuples(
    st.sampled_from((*QUIET, "publish", "retire", "forget", "rollback")), st.integers(1, 5)
)


def outcome(known: Known) -> ModelConfig | str:
    """Return what a rollback would write, or why it would not."""
    try:
        return roll_back(known, "m").config
    except NothingBefore as error:
        return str(error)


@settings(deadline=None)
@given(st.lists(OPS, max_size=25), st.data())
def test_compaction_at_any_point_changes_no_rollback(
    ops: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Whatever of the overwritten records is gone, and whenever it went."""
    log = LogInMemory()
    for name, number in ops:
        do(log, name, number)
    removed = data.draw(st.sets(st.integers(0, max(len(log.entries) - 1, 0))))
    left = Known.of(log.compacted(removed))
    assert timeline(left, "m") == timeline(log.known, "m")
    assert outcome(left) == outcome(log.known)


@settings(deadline=None)
@given(st.lists(OPS, max_size=25))
def test_rollbacks_come_to_an_end_and_never_serve_what_is_not_there(
    ops: list[tuple[str, int]],
) -> None:
    """Each one shortens the past, serves published versions only, and changes what is served."""
    log = LogInMemory()
    for name, number in ops:
        do(log, name, number)
    depth = len(timeline(log.known, "m").earlier)
    while not isinstance(outcome(log.known), str):
        before = log.known
        step = undo(log)
        assert is_rollback(before, step.config)
        assert log.known.published("m").issuperset(step.after.versions)
        assert difference(step.before, step.after) != "nothing that is served changes"
        now = timeline(log.known, "m")
        assert now.current == step.after
        assert len(now.earlier) < depth
        depth = len(now.earlier)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(QUIET), st.integers(1, 5)), max_size=12))
def test_a_rollback_serves_what_was_served_before(ops: list[tuple[str, int]]) -> None:
    """With new versions and new configurations only, it is the last state that was different."""
    log = LogInMemory()
    served: list[Earlier] = []
    fresh = 5
    for name, number in [*(("publish", n) for n in range(1, 6)), *ops]:
        fresh += name == "publish"
        do(log, name, fresh if name == "publish" else number)
        now = timeline(log.known, "m").current
        if not served or difference(served[-1], now) != "nothing that is served changes":
            served.append(now)
    if len(served) > 1:
        step = roll_back(log.known, "m")
        assert difference(served[-2], step.after) == "nothing that is served changes"


def test_is_no_rollback_what_only_looks_like_one() -> None:
    """A configuration of before there were rollbacks carries no past."""
    log = log_of(1, 2)
    legacy = ModelConfig(model="m", policy=VersionPolicy(latest=2))
    assert not is_rollback(log.known, legacy)
    assert not is_rollback(log.known, reconfigure(log.known, ConfigChange(model="m")).config)
    assert config_key("m") not in log.known.offsets
