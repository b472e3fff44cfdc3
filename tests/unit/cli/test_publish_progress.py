"""How a publication's progress is shown."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress as Bars

from headrace.cli.publish_progress import PlainLines, TerminalBars
from headrace.publisher.progress import Appended, Hashed, Progress, Tried

REPORTS: tuple[Progress, ...] = (
    Hashed(done_bytes=10, total_bytes=2000),
    Hashed(done_bytes=2000, total_bytes=2000),
    *(Tried(done_examples=done, total_examples=300) for done in range(301)),
    Appended(control_offset=7),
)


def test_a_pipe_gets_a_line_for_what_is_done() -> None:
    """And not one for each example."""
    lines: list[str] = []
    told = PlainLines(lines.append)
    for report in REPORTS:
        told(report)
    assert lines == [
        "hashed 2.0 kB of 2.0 kB",
        "ran 300 of 300 examples",
        "event in the log at offset 7",
    ]


def test_a_terminal_gets_lines_above_its_bars() -> None:
    """Examples are no bytes, so they have no bar."""
    screen = io.StringIO()
    with Bars(console=Console(file=screen, width=80)) as bars:
        told = TerminalBars(bars)
        for report in REPORTS:
            told(report)
        assert [task.description for task in bars.tasks] == ["hashing"]
    shown = screen.getvalue()
    assert "ran 300 of 300 examples" in shown
    assert "event in the log at offset 7" in shown
    assert "ran 299" not in shown
