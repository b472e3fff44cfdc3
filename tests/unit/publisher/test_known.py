"""What the control log allows, given what it says."""

from dataclasses import replace

import pytest

from headrace.publisher.configuration import ConfigChange
from headrace.publisher.errors import (
    InvalidArgument,
    StillPublished,
    UnknownVersion,
    VersionConflict,
)
from headrace.publisher.history import ControlEntry, ControlRecord
from headrace.publisher.known import Known, check_alone
from headrace.schemas.errors import Undecodable, WireError
from headrace.schemas.records import (
    MAX_VERSION,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    VersionPolicy,
    config_key,
    version_key,
)


def version(number: int, digest: str = "sha256:aa", *, retired: bool = False) -> ModelVersion:
    """Return a version of ranker."""
    return ModelVersion(
        model="ranker",
        version=number,
        uri="file:///x",
        digest=digest,
        size_bytes=1,
        lifecycle=Lifecycle.RETIRED if retired else Lifecycle.PUBLISHED,
        publisher="ada@train",
    )


def log(*records: ControlRecord | tuple[bytes, WireError | None]) -> list[ControlEntry]:
    """Return a log of these records; a pair is a key with a tombstone or an unreadable value."""
    entries: list[ControlEntry] = []
    for offset, record in enumerate(records):
        if isinstance(record, tuple):
            key, value = record
            entries.append(ControlEntry(offset=offset, timestamp_ms=0, key=key, record=value))
            continue
        if isinstance(record, ModelVersion):
            key = version_key(record.model, record.version)
        else:
            key = config_key(record.model)
        entries.append(ControlEntry(offset=offset, timestamp_ms=0, key=key, record=record))
    return entries


def test_numbers_begin_with_one_and_go_on_after_the_highest() -> None:
    """A retired version's number is not given out again."""
    assert Known.of([]).number("ranker", None, "sha256:aa") == 1
    known = Known.of(log(version(7, retired=True), version(3)))
    assert known.number("ranker", None, "sha256:aa") == 8
    assert known.number("other", None, "sha256:aa") == 1


def test_a_number_means_the_same_bytes_for_ever() -> None:
    """The same bytes may come again; other bytes may not, even once the version is retired."""
    known = Known.of(log(version(3), version(4, retired=True)))
    assert known.number("ranker", 3, "sha256:aa") == 3
    assert known.number("ranker", 4, "sha256:aa") == 4
    for number in (3, 4):
        with pytest.raises(VersionConflict, match=r"by ada@train.*publish as version 5"):
            known.number("ranker", number, "sha256:bb")


def test_a_forgotten_number_is_free() -> None:
    """A tombstone takes the record out of what is known."""
    known = Known.of(log(version(3), (version_key("ranker", 3), None)))
    assert known.number("ranker", 3, "sha256:bb") == 3
    assert known.number("ranker", None, "sha256:bb") == 1


def test_an_unreadable_record_changes_nothing() -> None:
    """As in the node's fold: the last readable record of a key counts."""
    known = Known.of(log(version(3), (version_key("ranker", 3), Undecodable("x"))))
    assert known.version("ranker", 3) == version(3)


def test_there_is_no_number_after_the_highest() -> None:
    """Version numbers end with int64."""
    with pytest.raises(InvalidArgument, match="is not allowed"):
        Known.of(log(version(MAX_VERSION))).number("ranker", None, "sha256:aa")


def test_names_the_versions_it_knows() -> None:
    """Whoever retires a version that does not exist is told which do."""
    with pytest.raises(UnknownVersion, match=r"no version 9 of 'ranker'.*known: 3, 4"):
        Known.of(log(version(4), version(3))).version("ranker", 9)


def test_forgets_only_what_is_retired() -> None:
    """A record that nodes act on is not dropped by accident."""
    known = Known.of(log(version(3), version(4, retired=True), ModelConfig(model="ranker")))
    with pytest.raises(StillPublished, match=r"still published \(version 3\)"):
        known.keys("ranker", 3, even_published=False)
    with pytest.raises(StillPublished, match="headrace retire ranker 3"):
        known.keys("ranker", None, even_published=False)
    assert known.keys("ranker", 4, even_published=False) == [b"version/ranker/4"]
    assert known.keys("ranker", None, even_published=True) == [
        b"version/ranker/3",
        b"version/ranker/4",
        b"model/ranker",
    ]
    with pytest.raises(UnknownVersion, match="nothing of model 'other'"):
        known.keys("other", None, even_published=True)


def test_tells_the_policy_and_the_highest_other_version() -> None:
    """What a publisher needs to know whose version is not wanted."""
    assert Known.of([]).policy_words("ranker", 3) == "latest:1"
    policy = VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(3, 5))
    records = (version(5), version(8, retired=True), ModelConfig(model="ranker", policy=policy))
    words = Known.of(log(*records)).policy_words("ranker", 3)
    assert words == "specific:3,5, highest other version: 5"


def test_finds_the_rival_that_took_the_number_meanwhile() -> None:
    """Only other bytes under the same key, between what was read and what was written."""
    ours = version(3, "sha256:bb")
    entries = log(version(3), version(4), version(3))
    check_alone(entries, version(3), since=0, at=3)
    check_alone(entries, ours, since=3, at=3)
    check_alone(entries, version(5), since=0, at=3)
    with pytest.raises(VersionConflict, match=r"by ada@train at offset 2 and by this.*offset 3"):
        check_alone(entries, ours, since=1, at=3)


def test_a_change_touches_only_what_it_names() -> None:
    """Labels are added one by one; a split is replaced as a whole."""
    before = ModelConfig(
        model="ranker", labels={"stable": 3, "canary": 4}, split={"stable": 9, "canary": 1}
    )
    change = ConfigChange(model="ranker", labels={"canary": 5}, split={}, max_batch_rows=7)
    after = change.apply(before)
    assert after.labels == {"stable": 3, "canary": 5}
    assert after.split == {}
    assert (after.batching.max_rows, after.batching.timeout_micros) == (7, 0)
    assert (after.policy, after.preserving) == (before.policy, before.preserving)
    assert ConfigChange(model="ranker").apply(before) == before
    assert after.replicas == 1
    sized = ConfigChange(model="ranker", allowed_batch_rows=[1, 7], replicas=2).apply(after)
    assert (sized.batching.allowed_rows, sized.batching.max_rows, sized.replicas) == ((1, 7), 7, 2)
    free = ConfigChange(model="ranker", allowed_batch_rows=()).apply(sized)
    assert free == replace(sized, batching=after.batching)
    gone = ConfigChange(model="ranker", unlabel=("canary",)).apply(before)
    assert gone.labels == {"stable": 3}
    with pytest.raises(InvalidArgument, match="no label nope: its labels are canary, stable"):
        ConfigChange(model="ranker", unlabel=("nope",)).apply(before)
