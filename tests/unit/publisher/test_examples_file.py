"""Golden requests as they are written in a file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from headrace.publisher.errors import InvalidArgument
from headrace.publisher.examples import check_tolerances, read_examples
from headrace.publisher.validation import Checks
from headrace.schemas.records import Tolerance
from headrace.schemas.trial import Example, Report, Trial, Verdict

GOOD = '{"inputs": {"x": [[1.0]]}, "outputs": {"y": [[2.5]]}}'


def written(folder: Path, text: str) -> Path:
    """Write a file of examples."""
    file = folder / "examples.jsonl"
    file.write_text(text)
    return file


def test_every_line_is_an_example_and_keeps_its_number(tmp_path: Path) -> None:
    """Empty lines count, and are no examples."""
    text = f'{GOOD}\n\n{{"inputs": {{}}, "signature": "score"}}\r\n'
    assert read_examples(written(tmp_path, text)) == (
        Example(line=1, inputs={"x": [[1.0]]}, outputs={"y": [[2.5]]}),
        Example(line=3, inputs={}, signature="score"),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON"),
        ("\x00", "is not JSON"),
        ("[" * 100_000, "is nested too deeply|is not JSON"),
        ("[]", "is no JSON object"),
        ("{}", "has no inputs"),
        ('{"inputs": [1]}', "has inputs that are no object"),
        ('{"inputs": {}, "outputs": 1}', "has outputs that are no object"),
        ('{"inputs": {}, "outputs": {}}', "expects no outputs: name some, or leave"),
        ('{"inputs": {}, "signature": 1}', "has a signature that is no name"),
        ('{"inputs": {}, "signature": ""}', "has a signature that is no name"),
        ('{"inputs": {}, "output": {}}', "has 'output'; it may have inputs, outputs and"),
    ],
)
def test_a_line_that_is_no_example_is_named_by_its_number(
    tmp_path: Path, line: str, words: str
) -> None:
    """Before anything is started."""
    with pytest.raises(InvalidArgument, match=f"^line 2 of .*examples.jsonl ({words})"):
        read_examples(written(tmp_path, f"{GOOD}\n{line}\n"))


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path: Path) -> None:
    """As an archive taken for a file of lines has them."""
    (tmp_path / "examples.jsonl").write_bytes(b'{"inputs": {"x": "\xff"}}')
    with pytest.raises(InvalidArgument, match=r"^line 1 of .* is not JSON"):
        read_examples(tmp_path / "examples.jsonl")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_examples_is_refused(tmp_path: Path, text: str) -> None:
    """Nothing that was run proves nothing."""
    with pytest.raises(InvalidArgument, match="has no examples: write one JSON object a line"):
        read_examples(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing ones and folders."""
    with pytest.raises(InvalidArgument, match=r"cannot read the examples in .*nowhere"):
        read_examples(tmp_path / "nowhere")
    with pytest.raises(InvalidArgument, match="cannot read the examples in"):
        read_examples(tmp_path)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_distance(value: float) -> None:
    """An infinite one would let everything pass."""
    with pytest.raises(InvalidArgument, match=r"tolerance of output 'y' is .*: use a finite"):
        check_tolerances({"y": Tolerance(absolute=value)})
    with pytest.raises(InvalidArgument, match="tolerance of all outputs is"):
        check_tolerances({"": Tolerance(relative=value)})


async def test_tolerances_without_examples_are_a_mistake() -> None:
    """Somebody forgot the examples."""
    with pytest.raises(InvalidArgument, match="tolerances are for examples"):
        await Checks.of(None, {"": Tolerance(absolute=1)}, 1.0, allow_incompatible=False)


async def test_a_validation_takes_time() -> None:
    """A timeout of none would refuse everything."""
    with pytest.raises(InvalidArgument, match="a validation timeout of 0 s is none"):
        await Checks.of(None, None, 0, allow_incompatible=False)


def test_a_trial_arrives_as_it_was_sent() -> None:
    """Numbers that JSON has not among them."""
    trial = Trial(
        model="m",
        platform="python",
        path="/m",
        examples=[Example(line=3, inputs={"x": [1, math.inf]}, outputs={"y": "ü"}, signature="s")],
        tolerances={"": Tolerance(absolute=0.5, relative=0.1)},
    )
    assert trial.encode().count(b"\n") == 1
    assert Trial.decode(trial.encode()) == trial


@pytest.mark.parametrize(
    "report", [Report(done=3), Report(verdict=Verdict.FAILED, failed=2, faults=("a", "b"))]
)
def test_a_report_arrives_as_it_was_sent(report: Report) -> None:
    """With a verdict and without."""
    assert Report.decode(report.encode()) == report


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"verdict": "MAYBE"}', b'{"verdict": 1}'])
def test_what_is_no_report_is_told_from_one(line: bytes) -> None:
    """A process that prints something else is no witness."""
    with pytest.raises(ValueError, match="not a report of a trial"):
        Report.decode(line)
