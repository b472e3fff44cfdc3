"""What the gate of a log admits: signed by a trusted key, for its model, in time, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.publisher.gate import Gate, check_validated, is_validated, model_of
from headrace.publisher.signing import SigningKey
from headrace.schemas.errors import Distrust, EventRefused
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    Validation,
    config_key,
    version_key,
)
from headrace.schemas.topics import EventHeader
from tests.fakes.signed_records import LATER_MS, NOW_MS, Record, signed, trusting

OURS, OTHER, STRANGER = (SigningKey.generate() for _ in range(3))
TRUSTED = trusting((OURS, "rank*"), (OTHER, "spam"))


def refusal(record: Record, *before: Record) -> tuple[Distrust, str]:
    """Return why a record is refused after others were admitted."""
    gate = Gate(TRUSTED)
    for admitted in before:
        gate.admit(admitted)
    highest = gate.highest_generations()
    with pytest.raises(EventRefused) as refused:
        gate.admit(record)
    assert gate.highest_generations() == highest
    return refused.value.reason, str(refused.value)


def with_header(record: Record, name: str, value: bytes | None) -> Record:
    """Return the record with a header replaced, or without it."""
    kept = [header for header in record.headers if header[0] != name]
    return replace(record, headers=kept if value is None else [*kept, (name, value)])


def test_signed_events_pass_in_the_order_of_their_generations() -> None:
    """Also with gaps, as compaction leaves them, and each model counts for itself."""
    gate = Gate(TRUSTED)
    for record in (
        signed(OURS, 1),
        signed(OURS, 7, of=config_key("ranker")),
        signed(OTHER, 2, of=version_key("spam", 3)),
        signed(OURS, 8, value=None),
    ):
        found = gate.admit(record)
        assert found
        assert found[1] is not None
    assert gate.highest_generations() == {"ranker": 8, "spam": 2}


def test_names_the_key_that_signed() -> None:
    """So that history can show it."""
    found = Gate(TRUSTED).admit(signed(OURS))
    assert found
    assert str(found[1]) == found[0].key_id == OURS.id


@pytest.mark.parametrize("value", [b"value", None])
def test_unsigned_event_is_refused(value: bytes | None) -> None:
    """Tombstones must be signed, too."""
    reason, words = refusal(Record(value=value))
    assert reason is Distrust.UNSIGNED
    assert "'version/ranker/1' is not signed" in words
    assert "HEADRACE_SIGNING_KEY" in words


def test_event_of_an_unknown_key_is_refused() -> None:
    """The message names the key and those that are trusted."""
    reason, words = refusal(signed(STRANGER))
    assert reason is Distrust.UNKNOWN_KEY
    assert f"key {STRANGER.id}, which is not trusted (trusted: {OURS.id}, {OTHER.id})" in words


def test_event_of_a_key_for_other_models_is_refused() -> None:
    """A trusted key may sign for its models only."""
    reason, words = refusal(signed(OTHER))
    assert reason is Distrust.FOREIGN_MODEL
    assert f"key {OTHER.id} may sign for models spam, and not for 'ranker'" in words


def test_event_that_came_too_late_is_refused() -> None:
    """Judged by the time that the log has of it: the last millisecond counts, the next does not."""
    on_time = replace(signed(OURS), timestamp=LATER_MS)
    assert Gate(TRUSTED).admit(on_time)
    reason, words = refusal(replace(on_time, timestamp=LATER_MS + 1))
    assert reason is Distrust.STALE
    assert "until 2027-01-15T08:01:00.000Z, and it was written at 2027-01-15T08:01:00.001Z" in words


def test_event_whose_time_is_the_writers_word_is_refused() -> None:
    """A topic with its writers' clocks cannot tell what is late."""
    reason, words = refusal(replace(signed(OURS), timestamp_type=0))
    assert reason is Distrust.UNTIMED
    assert "message.timestamp.type=LogAppendTime" in words


@pytest.mark.parametrize("generation", [1, 4, 5])
def test_replayed_event_is_refused(generation: int) -> None:
    """A generation that the model has had, or that is below, is an old event."""
    reason, words = refusal(signed(OURS, generation), signed(OURS, 5, of=config_key("ranker")))
    assert reason is Distrust.REPLAYED
    assert f"generation {generation} of model 'ranker'" in words
    assert "after generation 5" in words


def test_a_refused_event_does_not_count() -> None:
    """A stranger's huge generation must not shut the model."""
    gate = Gate(TRUSTED)
    for forged in (signed(STRANGER, 2**63 - 1), signed(OTHER, 2**63 - 1)):
        with pytest.raises(EventRefused):
            gate.admit(forged)
    assert gate.admit(signed(OURS, 1))


def test_a_log_that_is_read_anew_is_no_replay() -> None:
    """After a reset the same records pass again."""
    gate = Gate(TRUSTED)
    gate.admit(signed(OURS))
    gate.reset()
    assert gate.admit(signed(OURS))


def test_signature_does_not_move_to_another_record() -> None:
    """Neither to another version, nor to another model, nor from a value to a tombstone."""
    record = signed(OURS)
    for moved in (
        replace(record, key=version_key("ranker", 2)),
        replace(record, key=config_key("ranker")),
        replace(record, key=version_key("rank", 1)),
        replace(record, value=None),
        replace(record, value=b""),
        replace(signed(OURS, value=None), value=b""),
        replace(signed(OURS, value=b""), value=None),
    ):
        assert refusal(moved)[0] is Distrust.ALTERED


@pytest.mark.parametrize(
    "value", [b"0" * 120, bytes(range(64)), b"version/ranker/1"], ids=["long", "binary", "key-like"]
)
def test_every_changed_byte_is_noticed(value: bytes) -> None:
    """Each bit of the value and of the four headers, and each length of the value."""
    record = signed(OURS, 3, value=value)
    for index in range(len(value)):
        changed = bytearray(value)
        changed[index] ^= 1 << index % 8
        assert refusal(replace(record, value=bytes(changed)))[0] is Distrust.ALTERED
        assert refusal(replace(record, value=value[:index]))[0] is Distrust.ALTERED
    assert refusal(replace(record, value=value + b"\0"))[0] is Distrust.ALTERED
    for name, text in record.headers:
        for index in range(len(text)):
            changed = bytearray(text)
            changed[index] ^= 1
            reason, _words = refusal(with_header(record, name, bytes(changed)))
            assert reason in (Distrust.ALTERED, Distrust.UNKNOWN_KEY)


@pytest.mark.parametrize(
    "name",
    [
        EventHeader.KEY_ID,
        EventHeader.GENERATION,
        EventHeader.NOT_AFTER_MS,
        EventHeader.SIGNATURE,
    ],
)
@pytest.mark.parametrize("value", [None, b"", b"-1", b"1" * 20, b"\xff", b"00", b"AAAA", b"1e3"])
def test_strange_headers_are_refused_in_words(name: str, value: bytes | None) -> None:
    """Lost, empty, negative, too large, no text."""
    reason, words = refusal(with_header(signed(OURS), name, value))
    assert reason in (Distrust.ALTERED, Distrust.UNKNOWN_KEY)
    assert words.isprintable()


def test_a_header_that_is_there_twice_is_refused() -> None:
    """Readers could differ in which of the two they take."""
    record = signed(OURS)
    reason, words = refusal(replace(record, headers=[*record.headers, record.headers[0]]))
    assert reason is Distrust.ALTERED
    assert "header 'key-id' is there twice" in words


def test_headers_of_others_do_not_matter() -> None:
    """Tracing and the like may be added on the way."""
    record = signed(OURS)
    more = [("traceparent", b"00-ab-cd-01"), *record.headers, ("x", b"\xff")]
    assert Gate(TRUSTED).admit(replace(record, headers=more))


@pytest.mark.parametrize("key", [None, b"", b"noise", b"version/ranker/0", b"model/../etc"])
def test_keys_that_name_no_model_are_left_to_the_reader(key: bytes | None) -> None:
    """Nothing can come of them, whoever signs."""
    assert Gate(TRUSTED).admit(Record(key=key)) is None
    assert model_of(key) is None


def test_without_trusted_keys_everything_passes() -> None:
    """And claims are counted, so that a publisher can go on after them."""
    gate = Gate()
    assert gate.admit(Record()) is None
    assert gate.admit(with_header(signed(OURS), EventHeader.SIGNATURE, b"?")) is None
    found = gate.admit(signed(STRANGER, 9))
    assert found
    assert found[1] is None
    gate.admit(signed(OURS, 4))
    assert gate.highest("ranker") == 9


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(-1, 1), st.booleans(), st.sampled_from("ab")),
        max_size=25,
    )
)
def test_what_passes_is_signed_timely_and_ascending(
    attempts: Sequence[tuple[int, int, bool, str]],
) -> None:
    """Whatever is written: the admitted records of a model are those that its key has signed."""
    trusted = trusting((OURS, "a"), (OTHER, "b"))
    gate, highest = Gate(trusted), {"a": 0, "b": 0}
    for generation, slack, is_ours, model in attempts:
        key = OURS if is_ours else OTHER
        record = signed(key, generation, of=config_key(model), not_after_ms=NOW_MS + slack)
        if is_ours == (model == "a") and slack >= 0 and generation > highest[model]:
            assert gate.admit(record)
            highest[model] = generation
        else:
            with pytest.raises(EventRefused):
                gate.admit(record)


@given(st.data())
def test_compaction_changes_nothing_of_what_is_left(data: st.DataObject) -> None:
    """Of an honest log, whatever part is left passes."""
    keys = [config_key("ranker"), version_key("ranker", 1), version_key("ranker", 2)]
    log = [
        signed(OURS, generation, of=data.draw(st.sampled_from(keys))) for generation in range(1, 9)
    ]
    gate = Gate(TRUSTED)
    for record in log:
        if data.draw(st.booleans()):
            assert gate.admit(record)


def version(lifecycle: Lifecycle, validation: Validation | None) -> ModelVersion:
    """Return a version that was or was not validated."""
    return ModelVersion(
        model="ranker",
        version=4,
        uri="file:///x",
        digest="sha256:0",
        size_bytes=1,
        lifecycle=lifecycle,
        validation=validation,
    )


def test_only_versions_to_be_served_must_be_validated() -> None:
    """Retiring, configuring and forgetting need no examples."""
    for record in (
        None,
        ModelConfig(model="ranker"),
        version(Lifecycle.RETIRED, None),
        version(Lifecycle.PUBLISHED, Validation(examples=1)),
    ):
        check_validated(record)
        assert is_validated(record)
    for validation in (None, Validation(examples=0)):
        with pytest.raises(EventRefused, match=r"version 4 of 'ranker' was not validated") as told:
            check_validated(version(Lifecycle.PUBLISHED, validation))
        assert told.value.reason is Distrust.UNVALIDATED
