"""Shows the scoreboard on standard error: live on a terminal, in plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.cli.quickstart.messages import VersionCount
from headrace.cli.quickstart.scoreboard import Door, Scoreboard

_FRAMES_PER_SECOND: Final = 4


class Display:
    """Shows one scoreboard while `shown`.

    **Concurrency:** on a terminal a thread of its own reads the scoreboard.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def tell(self, words: str) -> None:
        """Print an event as a line, unless the live display shows it."""
        if not self._console.is_terminal:
            self._console.print(Text(words), soft_wrap=True)

    @contextmanager
    def shown(self, board: Scoreboard) -> Generator[None, None, None]:
        """Show the board until the context ends; its last state stays on the terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=lambda: render(board),
            console=self._console,
            refresh_per_second=_FRAMES_PER_SECOND,
        ):
            yield


def render(board: Scoreboard) -> RenderableType:
    """Return the board as one picture."""
    table = Table(title="headrace quickstart", title_justify="left", box=None, pad_edge=False)
    for heading in ("version", "event → serving", "accuracy as answered", "by gRPC", "by Kafka"):
        table.add_column(heading, justify="right", min_width=12)
    for score in board.scores:
        accuracy = "" if score.accuracy is None else f"{score.accuracy:.3f}"
        table.add_row(
            str(score.version),
            f"{score.event_to_serving_seconds:.2f} s",
            Text(accuracy, style="bold green"),
            _answers(score.grpc, board.digits),
            _answers(score.kafka, board.digits),
        )
    rates = Text("answers/s: ").append(
        ", ".join(f"{door} {board.rate(door):,.0f}" for door in Door), style="bold"
    )
    failed = sum(board.counts[door].failed for door in Door)
    rates.append(f"   failed: {failed}", style="bold red" if failed else "dim")
    events = [Text(f"{at:6.1f} s  {words}", style="dim") for at, words in list(board.events)]
    return Group(table, Text(), rates, Text(), *events)


def _answers(count: VersionCount, digits: int) -> str:
    """Return the answers of a version by one door; a tick says that every digit was among them."""
    return f"{count.answers:,} {'✓' if count.covered >= digits else ' '}"
