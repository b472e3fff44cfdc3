"""The quickstart counts what was answered, and judges by the counts."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import numpy as np
import pytest

from headrace.cli.quickstart import digits, messages, verdict
from headrace.cli.quickstart.errors import QuickstartFailed
from headrace.cli.quickstart.messages import Counted, Failed, Serving, Trained, VersionCount
from headrace.cli.quickstart.scoreboard import Door, Scoreboard
from headrace.cli.quickstart.tally import Tally
from headrace.cli.quickstart.trainer import steps_at
from headrace.cli.quickstart.workspace import Workspace

LABELS = np.array([3, 1, 4, 1], np.int64)


def served(version: int) -> Serving:
    """Return that a version is served."""
    return Serving(version=version, control_offset=0, event_to_serving_seconds=0.1, nodes=("a",))


def finished_board() -> Scoreboard:
    """Return the board of a show with two versions, each asked twice by both doors."""
    board = Scoreboard(4, lambda _words: None)
    counts = (
        VersionCount(version=1, answers=8, covered=4, correct=1),
        VersionCount(version=2, answers=8, covered=4, correct=3),
    )
    for version in (1, 2):
        board.serve(served(version))
    for door in Door:
        board.count(door, Counted(sent=16, versions=counts))
    return board


def test_counts_every_answer_but_every_digit_once() -> None:
    """Asking one digit often does not make a version look better."""
    tally = Tally(LABELS)
    tally.send(5)
    for index, digit in ((0, 3), (0, 3), (1, 1), (2, 9)):
        tally.answer(7, index, digit)
    tally.fail("UNAVAILABLE: gone")
    counted = tally.counted()
    assert (counted.sent, counted.answers, counted.failed) == (5, 4, 1)
    assert counted.first_failure == "UNAVAILABLE: gone"
    assert counted.of(7) == VersionCount(version=7, answers=4, covered=3, correct=2)
    assert counted.of(8) == VersionCount(version=8)


@pytest.mark.parametrize(
    "message",
    [
        Trained(round=1, steps=6, accuracy=0.5),
        served(3),
        Failed(reason="no broker"),
        Counted(sent=2, failed=1, first_failure="x", versions=(VersionCount(version=1),)),
    ],
)
def test_messages_survive_the_pipe(message: messages.Message) -> None:
    """What a process tells is what the quickstart hears."""
    line = messages.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.decode(line) == message


def test_refuses_lines_that_are_no_message() -> None:
    """A stray print is noticed."""
    with pytest.raises(ValueError, match="JSON"):
        messages.decode(b"Hello\n")


def test_the_line_tells_the_accuracy_as_answered() -> None:
    """The numbers of the last line are the counts, and nothing else."""
    board = finished_board()
    assert verdict.faults(board, 2) == []
    assert verdict.ok_line(board) == (
        "quickstart ok: versions=2 grpc_answers=16 kafka_answers=16 failed=0 accuracy=0.25→0.75"
    )


def test_a_failed_request_is_a_fault() -> None:
    """One failure is enough, and its words are told."""
    board = finished_board()
    counts = board.counts[Door.GRPC].versions
    board.count(
        Door.GRPC, Counted(sent=17, failed=1, first_failure="UNAVAILABLE: x", versions=counts)
    )
    assert verdict.faults(board, 2) == [
        "1 of 17 gRPC requests failed, the first with UNAVAILABLE: x"
    ]


def test_a_missing_answer_is_a_fault() -> None:
    """What was sent and neither answered nor refused is missing."""
    board = finished_board()
    board.count(Door.KAFKA, Counted(sent=18, versions=board.counts[Door.KAFKA].versions))
    assert verdict.faults(board, 2) == ["2 of 18 Kafka requests were never answered"]


def test_a_version_that_did_not_answer_every_digit_is_a_fault() -> None:
    """An accuracy over a part of the digits is not the accuracy that is told."""
    board = finished_board()
    counts = (VersionCount(version=1, answers=16, covered=4, correct=1),)
    board.count(Door.KAFKA, Counted(sent=16, versions=counts))
    assert verdict.faults(board, 3) == [
        "2 of 3 versions were served",
        "version 2 has not answered every digit over Kafka",
    ]


async def test_waits_until_both_doors_have_answered_every_digit() -> None:
    """One door alone is not enough."""
    board = Scoreboard(4, lambda _words: None)
    board.serve(served(1))
    whole = Counted(sent=4, versions=(VersionCount(version=1, answers=4, covered=4),))
    waiting = asyncio.ensure_future(board.wait_covered(1))
    board.count(Door.GRPC, whole)
    await asyncio.sleep(0)
    part = Counted(sent=9, versions=(VersionCount(version=1, answers=9, covered=3),))
    board.count(Door.KAFKA, part)
    await asyncio.sleep(0)
    assert board.uncovered(1) == [Door.KAFKA]
    assert not waiting.done()
    board.count(Door.KAFKA, whole)
    async with asyncio.timeout(5):
        await waiting


def test_each_round_trains_more_than_the_one_before() -> None:
    """The first rounds are short, so that one sees the model learn; later ones are bounded."""
    steps = [steps_at(number) for number in range(1, 9)]
    assert steps[:4] == [6, 24, 96, 384]
    assert all(after > before for before, after in itertools.pairwise(steps))
    assert steps[7] - steps[6] == 500


def test_held_out_digits_are_never_trained_on() -> None:
    """The split is the same on every call, and its parts share no row."""
    training, held_out = digits.load()
    assert len(training) + len(held_out) == 1797
    assert held_out.images.shape == (450, 64)
    assert held_out.images.dtype == np.float32
    np.testing.assert_array_equal(digits.load()[1].images, held_out.images)


def test_a_temporary_workspace_leaves_nothing_but_the_logs_of_a_failure(tmp_path: Path) -> None:
    """After a good run the folder is gone; after a failure what explains it stays."""
    with Workspace(None) as good:
        good.log("node").write_text("fine")
    assert not good.path.exists()
    bad = Workspace(None)
    bad.__enter__()
    bad.log("node").write_text("broken")
    bad.__exit__(QuickstartFailed, QuickstartFailed("x"), None)
    assert [path.name for path in bad.path.iterdir()] == ["logs"]
    assert bad.log("node").read_text() == "broken"
    bad.log("node").unlink()
    bad.log("node").parent.rmdir()
    bad.path.rmdir()
    with Workspace(tmp_path / "kept") as kept:
        kept.store.joinpath("x").touch()
    assert (tmp_path / "kept" / "store" / "x").exists()


def test_a_data_dir_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").touch()
    with pytest.raises(QuickstartFailed, match=r"cannot use .*file"), Workspace(tmp_path / "file"):
        pass
