"""What holds of the fold for every log: one log, one plan, however it is read and compacted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.control.events import read_event
from headrace.consumer.core.plan import ControlEvent, Plan, fold
from headrace.schemas.codec import encode
from headrace.schemas.cohorts import allocate
from headrace.schemas.errors import WireError
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    Shadow,
    VersionPolicy,
    config_key,
    version_key,
)

MODELS = st.sampled_from(["a", "b"])
NUMBERS = st.integers(1, 4)
LABELS = st.sampled_from(["stable", "canary"])
ARMS = st.sampled_from(["stable", "canary", "1", "4", "b", "b@stable", "a@2"])

Log = Sequence[ControlEvent]


def a_version(model: str, number: int, lifecycle: Lifecycle, digest: str) -> ModelVersion:
    """Return a version with what the plan looks at."""
    return ModelVersion(
        model=model, version=number, uri="u", digest=digest, size_bytes=1, lifecycle=lifecycle
    )


versions = st.builds(
    a_version, MODELS, NUMBERS, st.sampled_from(list(Lifecycle)), st.sampled_from(["x", "y"])
)
configs = st.builds(
    ModelConfig,
    model=MODELS,
    policy=st.builds(
        VersionPolicy,
        kind=st.sampled_from(list(PolicyKind)),
        latest=st.integers(0, 3),
        versions=st.lists(NUMBERS, max_size=2).map(tuple),
    ),
    labels=st.dictionaries(LABELS, NUMBERS),
    split=st.dictionaries(ARMS, st.integers(0, 100), max_size=3),
    shadow=st.none() | st.builds(Shadow, target=ARMS),
).map(lambda config: replace(config, cohorts=allocate(config.split)))
tombstones = st.one_of(st.builds(version_key, MODELS, NUMBERS), st.builds(config_key, MODELS))


def event(offset: int, record: ModelVersion | ModelConfig | bytes) -> ControlEvent:
    """Return a record, or the tombstone of a key, as it stands in the log."""
    match record:
        case ModelVersion():
            return ControlEvent(offset, version_key(record.model, record.version), record)
        case ModelConfig():
            return ControlEvent(offset, config_key(record.model), record)
        case bytes():
            return ControlEvent(offset, record, None)


logs = st.lists(versions | configs | tombstones, max_size=30).map(
    lambda records: [event(offset, record) for offset, record in enumerate(records)]
)


def compacted(log: Log, end: int, dropped: set[bytes]) -> Log:
    """Return what compaction up to an offset leaves: of each key the last record.

    Kafka drops tombstones some time later: here those of the keys in `dropped`.
    """
    last = {entry.key: entry.offset for entry in log if entry.offset < end}
    return [
        entry
        for entry in log
        if entry.offset >= end
        or (entry.offset == last[entry.key] and not (entry.record is None and entry.key in dropped))
    ]


@given(logs, st.lists(st.integers(0, 30)))
def test_however_the_log_is_cut_into_batches_the_plan_is_the_same(
    log: Log, cuts: list[int]
) -> None:
    """Where a poll ends makes no difference."""
    plan = Plan()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(log)], strict=True):
        plan = fold(plan, log[start:end])
    assert plan == fold(Plan(), log)


@given(logs, st.lists(st.tuples(st.integers(0, 30), st.sets(tombstones)), max_size=3))
def test_compaction_at_any_point_and_again_changes_no_model(
    log: Log, compactions: list[tuple[int, set[bytes]]]
) -> None:
    """A node that starts late serves what one that saw every record serves."""
    left = log
    for end, dropped in compactions:
        left = compacted(left, end, dropped)
    late, early = fold(Plan(), left), fold(Plan(), log)
    assert late.models == early.models
    for name, model in early.models.items():
        for failed in [], [1], [1, 2, 3, 4]:
            assert late.models[name].wanted(failed) == model.wanted(failed)


@given(logs, st.integers(0, 30))
def test_a_log_that_is_compacted_while_it_is_read_gives_the_same_plan(log: Log, read: int) -> None:
    """What the node had read may be gone; what it had not is the last of its key, or superseded."""
    kept = compacted(log, len(log), set())
    resumed = fold(fold(Plan(), log[:read]), [entry for entry in kept if entry.offset >= read])
    assert resumed.models == fold(Plan(), log).models


@given(logs)
def test_duplicates_change_nothing(log: Log) -> None:
    """A record that is delivered twice in a row brings what it brought."""
    assert fold(Plan(), [entry for entry in log for _ in range(2)]) == fold(Plan(), log)


def readable(records: Iterable[tuple[bytes | None, bytes | None]]) -> Log:
    """Return the events of raw records; those that cannot be read are left out."""
    events: list[ControlEvent] = []
    for offset, (key, value) in enumerate(records):
        try:
            events.append(read_event(offset, key, value))
        except WireError:
            continue
    return events


RAW = st.one_of(
    (versions | configs).map(lambda record: (event(0, record).key, encode(record))),
    tombstones.map(lambda key: (key, None)),
)
UNREADABLE = st.one_of(
    st.tuples(st.none() | st.binary(max_size=8) | tombstones, st.binary(max_size=12)),
    st.tuples(st.none() | st.just(b"version/a/x"), st.none()),
    # A good record under the key of another one, and one cut short.
    st.tuples(st.just(b"version/a/9"), versions.map(encode)),
    versions.map(lambda record: (event(0, record).key, encode(record)[:-1])),
)


@given(st.lists(st.tuples(RAW, st.lists(UNREADABLE, max_size=2)), max_size=12))
def test_unreadable_records_change_nothing(
    records: list[tuple[tuple[bytes, bytes | None], list[tuple[bytes | None, bytes | None]]]],
) -> None:
    """Wherever they stand, and whatever key they claim."""
    clean = readable([good for good, _ in records])
    dirty = readable([each for good, bad in records for each in (good, *bad)])
    numbered = [entry._replace(offset=n) for n, entry in enumerate(dirty)]
    assert fold(Plan(), numbered) == fold(Plan(), clean)
    assert len(clean) == len(records)
