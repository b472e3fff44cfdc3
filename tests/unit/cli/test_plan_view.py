"""What the fleet wanted as of some record, and why."""

from __future__ import annotations

import pytest
from rich.console import Console

from headrace.cli.plan_view import PlanView, offset_of, plan_as_of, render
from headrace.publisher.configuration import ConfigChange
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.history import ControlEntry
from headrace.publisher.reconfiguring import pin, reconfigure
from headrace.schemas.errors import Undecodable
from headrace.schemas.records import ModelConfig, version_key
from tests.fakes.control_log import LogInMemory


@pytest.fixture
def log() -> LogInMemory:
    """Model m with a past: two versions, a label and a split, a third version, a pin."""
    log = LogInMemory()
    log.version(1)
    log.version(2)
    labels = {"stable": 1}
    log.take(reconfigure(log.known, ConfigChange(model="m", labels=labels, split={"stable": 1})))
    log.take(reconfigure(log.known, ConfigChange(model="m", split={"stable": 3, "2": 1})))
    log.version(3)
    log.take(pin(log.known, "m", [2]))
    log.version(1, "other")
    return log


def told(view: PlanView) -> list[tuple[str, str, int | None]]:
    """Return what a plan says of model m, with the offsets of the records that made it so."""
    return [
        (line.what, line.words, line.entry.offset if line.entry else None)
        for line in view.models["m"]
    ]


def test_each_line_names_the_record_that_made_it_so(log: LogInMemory) -> None:
    """Of a configuration, the one since which it has been so."""
    assert told(plan_as_of(log.entries)) == [
        ("version", "1", 0),
        ("version", "2", 1),
        ("policy", "specific:2", 5),
        ("label", "stable = 1", 2),
        ("arm", "stable 75 % → label stable (version 1)", 3),
        ("arm", "2 25 % → version 2", 3),
    ]


def test_shows_how_it_was(log: LogInMemory) -> None:
    """As of any record, and before there was a configuration."""
    assert told(plan_as_of(log.entries, 1)) == [("version", "2", 1), ("policy", "latest:1", None)]
    assert told(plan_as_of(log.entries, 4)) == [
        ("version", "1", 0),
        ("version", "2", 1),
        ("version", "3", 4),
        ("policy", "latest:1", 2),
        ("label", "stable = 1", 2),
        ("arm", "stable 75 % → label stable (version 1)", 3),
        ("arm", "2 25 % → version 2", 3),
    ]
    assert list(plan_as_of(log.entries).models) == ["m", "other"]
    assert list(plan_as_of(log.entries, model="other").models) == ["other"]
    assert plan_as_of([]).as_json() == {
        "offset": -1,
        "time": None,
        "removed_records": 0,
        "models": [],
    }


def test_says_when_records_may_be_missing(log: LogInMemory) -> None:
    """Only looking back: what is wanted now needs nothing that was removed."""
    left = log.compacted({2, 3})
    assert plan_as_of(left).removed == 0
    assert told(plan_as_of(left))[:3] == told(plan_as_of(log.entries))[:3]
    assert plan_as_of(left, 4).removed == 2
    assert plan_as_of(log.entries, 4).removed == 0


def test_skips_what_nodes_skip(log: LogInMemory) -> None:
    """What cannot be read, and what lies under a key that is not its own."""
    before = plan_as_of(log.entries).models
    for record in (Undecodable("garbage"), ModelConfig(model="x")):
        key = version_key("m", 9)
        offset = len(log.entries)
        log.entries.append(
            ControlEntry(offset=offset, timestamp_ms=1_000 * offset, key=key, record=record)
        )
    assert plan_as_of(log.entries).models == before


@pytest.mark.parametrize(
    ("at", "offset"),
    [("0", 0), ("6", 6), ("1970-01-01T00:00:02Z", 2), ("1970-01-01T00:00:03.999Z", 3)],
)
def test_finds_the_record_of_an_offset_or_a_time(log: LogInMemory, at: str, offset: int) -> None:
    """Of a time, the last one until then."""
    assert offset_of(log.entries, at, now_ms=10_000) == offset


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("7", "--at 7 is not in the control log, which holds offsets 0 to 6"),
        ("-1", "--at -1 is not"),
        ("yesterday", "is no time: give a duration"),
        ("1970-01-01T00:00:11Z", "is in the future: 1970-01-01T00:00:11.000Z"),
        ("1969-12-31T23:00:00Z", r"before the first record .*\(offset 0 of 1970-01-01T00:00:00"),
    ],
)
def test_refuses_what_lies_outside_of_the_log(log: LogInMemory, at: str, words: str) -> None:
    """With what the log holds."""
    with pytest.raises(InvalidArgument, match=words):
        offset_of(log.entries, at, now_ms=10_000)
    with pytest.raises(InvalidArgument, match="log is empty"):
        offset_of([], at)


def test_prints_a_table(log: LogInMemory) -> None:
    """One line each, with offset, time and publisher."""
    console = Console(width=150)
    with console.capture() as printed:
        console.print(render(plan_as_of(log.entries)))
    lines = printed.get().splitlines()
    assert lines[1].split() == ["m", "version", "1", "0", "1970-01-01T00:00:00.000Z", "ada@train"]
    assert lines[-1].split() == ["other", "policy", "latest:1", "-", "(default)"]
