"""Progress on standard error: one line that changes on a terminal, plain lines in a pipe."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text


class Progress:
    """Tells a person what is being done: ``with Progress() as tell: tell("formatting …")``.

    **Concurrency:** one thread.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, line: str) -> None:
        """Show `line` as what is being done now."""
        text = Text(line)
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
        elif self._status:
            self._status.update(text)
        else:
            self._status = self._console.status(text)
            self._status.start()
