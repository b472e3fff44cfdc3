"""What the event says of the checks, and what is compared with what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from headrace.publisher.errors import Incompatible
from headrace.publisher.validation import Checks
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    SignatureSpec,
    TensorSpec,
    Validation,
    VersionPolicy,
)
from headrace.schemas.trial import Example

FLOATS = (SignatureSpec(name="serving_default", inputs=(TensorSpec(name="x", dtype="float32"),)),)
STRINGS = (SignatureSpec(name="serving_default", inputs=(TensorSpec(name="x", dtype="string"),)),)
ALL = ModelConfig(model="m", policy=VersionPolicy(kind=PolicyKind.ALL))
TWO_EXAMPLES = Checks(examples=(Example(line=1, inputs={}), Example(line=2, inputs={})))


def version(
    number: int,
    interface: tuple[SignatureSpec, ...] = FLOATS,
    *,
    digest: str = "",
    validation: Validation | None = None,
) -> ModelVersion:
    """Return a version whose bytes are its own unless a digest says otherwise."""
    return ModelVersion(
        model="m",
        version=number,
        uri="/m",
        digest=digest or f"sha256:{number}",
        size_bytes=1,
        interface=interface,
        validation=validation,
    )


def judged(
    record: ModelVersion,
    versions: Iterable[ModelVersion] = (),
    config: ModelConfig | None = None,
    checks: Checks | None = None,
) -> Validation | None:
    """Return what the event of a record would say."""
    known = {each.version: each for each in versions}
    return (checks or Checks()).judge(record, record.interface, known, config).validation


def test_nothing_to_compare_with_and_no_examples_is_nothing_checked() -> None:
    """The first version of a model."""
    assert judged(version(1)) is None


def test_is_compared_with_the_highest_version_that_is_wanted() -> None:
    """Published is not enough: the policy has the last word."""
    versions = [version(1), version(2), version(3, STRINGS)]
    pinned = ModelConfig(model="m", policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(1, 2)))
    assert judged(version(4), versions, pinned) == Validation(examples=0, compared_with=2)
    with pytest.raises(Incompatible):
        judged(version(4), versions)


def test_a_version_that_a_label_holds_is_serving_as_well() -> None:
    """The highest one counts, whatever asks for it."""
    versions = [version(1), version(9, STRINGS)]
    labelled = ModelConfig(
        model="m",
        policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(1,)),
        labels={"next": 9},
    )
    with pytest.raises(Incompatible, match="version 9, which is serving"):
        judged(version(10), versions, labelled)


def test_retired_versions_do_not_count() -> None:
    """Nobody calls them."""
    retired = replace(version(3, STRINGS), lifecycle=Lifecycle.RETIRED)
    assert judged(version(4), [version(1), retired]) == Validation(examples=0, compared_with=1)


def test_versions_that_tell_no_interface_are_passed_over() -> None:
    """Records of before, and platforms that cannot be read."""
    versions = [version(1), version(2, ())]
    assert judged(version(3), versions, ALL) == Validation(examples=0, compared_with=1)
    assert judged(version(3), [version(2, ())]) is None


def test_a_version_that_cannot_be_read_is_not_compared() -> None:
    """What is not known is not gone."""
    assert judged(version(2, ()), [version(1)]) is None


def test_a_refusal_names_versions_tensor_and_way_out() -> None:
    """One line tells what to do."""
    with pytest.raises(
        Incompatible,
        match=r"version 2 of 'm' does not fit those who call version 1, which is serving: "
        r"signature 'serving_default': input 'x' was float32 of any shape, and is string of any "
        r"shape: nothing was published; .*--allow-incompatible",
    ) as caught:
        judged(version(2, STRINGS), [version(1)])
    assert len(caught.value.faults) == 1


def test_a_refusal_of_much_stays_readable() -> None:
    """The first few losses are told, all of them are on the error."""
    many = tuple(SignatureSpec(name=f"s{n}") for n in range(20))
    with pytest.raises(Incompatible, match=r"'s4' is gone|and 15 more") as caught:
        judged(version(2), [version(1, many)])
    assert len(caught.value.faults) == 20
    assert "and 15 more" in str(caught.value)


def test_what_is_allowed_is_published_and_marked() -> None:
    """Whoever reads the log can tell."""
    found = judged(version(2, STRINGS), [version(1)], checks=Checks(allow_incompatible=True))
    assert found == Validation(examples=0, compared_with=1, is_compatible=False)


def test_signatures_that_the_record_has_no_room_for_are_compared_all_the_same() -> None:
    """Left out of the event is not gone."""
    record = replace(version(2), interface=())
    found = Checks().judge(record, FLOATS, {1: version(1)}, None)
    assert found.validation == Validation(examples=0, compared_with=1)


def test_examples_are_counted() -> None:
    """Also where there is nothing to compare with."""
    assert judged(version(1), checks=TWO_EXAMPLES) == Validation(examples=2)


def test_publishing_again_keeps_what_the_log_knows() -> None:
    """The same bytes under the same number have passed before."""
    before = Validation(examples=7, compared_with=1, is_compatible=False)
    versions = [version(1), version(2, validation=before)]
    assert judged(version(2), versions) == before
    assert judged(version(2), versions, checks=TWO_EXAMPLES) == replace(before, examples=2)


def test_a_new_comparison_replaces_the_old_one() -> None:
    """What is serving now is what counts now."""
    before = Validation(examples=7, compared_with=1, is_compatible=False)
    retired = replace(version(2, validation=before), lifecycle=Lifecycle.RETIRED)
    found = judged(version(2), [retired, version(3)])
    assert found == Validation(examples=7, compared_with=3)


def test_the_same_bytes_under_another_number_have_passed_the_same_examples() -> None:
    """A number changes no answer; another platform may."""
    before = Validation(examples=7, compared_with=1, is_compatible=False)
    versions = [version(2, digest="sha256:a", validation=before)]
    again = version(3, digest="sha256:a")
    assert judged(again, versions) == Validation(examples=7, compared_with=2)
    elsewhere = replace(again, platform="onnx")
    assert judged(elsewhere, versions) == Validation(examples=0, compared_with=2)
