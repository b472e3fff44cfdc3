"""The history of a model says what each record of the log changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from headrace.cli.log_view import changes, difference, render
from headrace.publisher.history import ControlEntry, ControlRecord
from headrace.publisher.reconfiguring import unpin
from headrace.publisher.rollback import roll_back
from headrace.schemas.errors import Undecodable, WireError
from headrace.schemas.records import (
    Batching,
    LargeRequests,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    Validation,
    VersionPolicy,
    config_key,
    version_key,
)
from tests.fakes.control_log import LogInMemory


def entry(offset: int, key: bytes, record: ControlRecord | WireError | None) -> ControlEntry:
    """Return an entry of the log; each is a second after the one before."""
    return ControlEntry(offset=offset, timestamp_ms=offset * 1000, key=key, record=record)


def version(number: int, lifecycle: Lifecycle = Lifecycle.PUBLISHED) -> ModelVersion:
    """Return a version of the model `m`."""
    return ModelVersion(
        model="m",
        version=number,
        uri="file:///store/x",
        digest="sha256:abc",
        size_bytes=1,
        publisher="me@here",
        lifecycle=lifecycle,
    )


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (None, "file:///store/x"),
        (Validation(examples=7), "file:///store/x; 7 examples passed"),
        (
            Validation(examples=7, compared_with=3),
            "file:///store/x; 7 examples passed, compatible with version 3",
        ),
        (
            Validation(examples=0, compared_with=3, is_compatible=False),
            "file:///store/x; not compatible with version 3",
        ),
    ],
)
def test_tells_what_was_checked_of_a_version(validation: Validation | None, words: str) -> None:
    """Before it was published."""
    record = replace(version(1), validation=validation)
    (found,) = changes([entry(0, version_key("m", 1), record)], "m")
    assert found.details == words


def test_tells_what_every_record_did_in_order() -> None:
    """Published, configured, retired, forgotten: each with its offset, time and words."""
    config = ModelConfig(model="m", policy=VersionPolicy(latest=2), labels={"stable": 1})
    log = [
        entry(0, version_key("m", 1), version(1)),
        entry(1, config_key("m"), config),
        entry(2, version_key("other", 1), version(1)),
        entry(3, version_key("m", 1), version(1, Lifecycle.RETIRED)),
        entry(4, version_key("m", 1), None),
        entry(5, config_key("m"), None),
    ]
    found = changes(log, "m")
    assert [(change.offset, change.what, change.version) for change in found] == [
        (0, "published", 1),
        (1, "configured", None),
        (3, "retired", 1),
        (4, "forgotten", 1),
        (5, "forgotten", None),
    ]
    assert found[1].details == "policy latest:1 → latest:2; labels none → stable=1"
    assert found[0].as_json() == {
        "offset": 0,
        "time": "1970-01-01T00:00:00.000Z",
        "what": "published",
        "version": 1,
        "platform": "tensorflow",
        "details": "file:///store/x",
        "digest": "sha256:abc",
        "publisher": "me@here",
        "signed_by": None,
    }


def test_shows_unreadable_records_as_such() -> None:
    """A record that does not decode, or whose key names something else, is not left out."""
    log = [
        entry(0, version_key("m", 1), Undecodable("5 bytes of nothing")),
        entry(1, version_key("m", 2), version(3)),
        entry(2, version_key("m", 0).removesuffix(b"0") + b"x", None),
    ]
    found = changes(log, "m")
    assert [(change.what, change.version) for change in found] == [
        ("unreadable", 1),
        ("unreadable", 2),
        ("forgotten", None),
    ]
    assert found[0].details == "5 bytes of nothing"
    assert found[1].details == "the record is version 3 of 'm', its key is not"


def test_does_not_take_a_model_for_another_whose_name_it_begins_with() -> None:
    """`m` is not `mm`, in either direction."""
    log = [entry(0, version_key("mm", 1), None), entry(1, config_key("mm"), None)]
    assert changes(log, "m") == []


def test_names_every_setting_that_differs() -> None:
    """Each field of a configuration has its words."""
    before = ModelConfig(model="m")
    after = ModelConfig(
        model="m",
        policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(3, 5)),
        split={"3": 95, "5": 5},
        batching=Batching(
            max_rows=8,
            timeout_micros=50,
            allowed_rows=(1, 8),
            pads_variable_length=True,
            large_requests=LargeRequests.SPLIT,
        ),
        replicas=2,
    )
    assert difference(before, after) == (
        "policy latest:1 → specific:3,5; split none → 3=95,5=5; "
        "max batch rows 1024 → 8; batch timeout 0 µs → 50 µs; allowed batch rows any → 1,8; "
        "pads variable length no → yes; large requests run whole → split; replicas 1 → 2"
    )
    assert difference(after, after) == "nothing changed"


def test_prints_one_line_per_change() -> None:
    """The table has the digest's beginning, and no line is cut in a pipe."""
    digest = "sha256:" + "0123456789abcdef" * 4
    log = [entry(0, version_key("m", 1), version(1)), entry(1, version_key("m", 1), None)]
    console = Console(width=300)
    with console.capture() as capture:
        console.print(render(changes(log, "m")))
    assert len(capture.get().splitlines()) == 3
    assert digest not in capture.get()


def test_a_rollback_is_told_as_such() -> None:
    """From what to what; and what came after it is no rollback."""
    log = LogInMemory()
    log.version(1)
    log.version(2)
    log.take(roll_back(log.known, "m"))
    log.take(unpin(log.known, "m"))
    found = changes(log.entries, "m")
    assert [change.what for change in found[2:]] == ["rolled back", "configured"]
    assert found[2].details == "2 → 1; policy latest:1 → specific:1"
    assert found[3].details == "policy specific:1 → latest:1"
