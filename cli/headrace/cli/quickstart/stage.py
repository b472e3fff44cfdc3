"""The quickstart from curtain to curtain: workspace, servers, show, verdict, signals, exit code.

Everything opened here is closed in reverse, also after a failure, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import typer

from headrace.cli.broker import BrokerError
from headrace.cli.quickstart import digits, guide, verdict
from headrace.cli.quickstart.display import Display
from headrace.cli.quickstart.errors import QuickstartFailed
from headrace.cli.quickstart.scoreboard import Scoreboard
from headrace.cli.quickstart.servers import serving
from headrace.cli.quickstart.show import Pace, Show
from headrace.cli.quickstart.workspace import Workspace
from headrace.publisher.connection import quiet_logs
from headrace.publisher.errors import PublisherError

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What to show, where to put it, and whether to stay."""

    pace: Pace
    data_dir: Path | None = None
    keep_running: bool = False


def run(options: StageOptions) -> int:
    """Run the quickstart and return the exit code of the command."""
    # What aiokafka would log of the moments after a start, nobody here needs to read.
    quiet_logs(level=logging.CRITICAL)
    try:
        return asyncio.run(_until_signal(options))
    except BaseExceptionGroup as group:
        known, others = group.split((QuickstartFailed, BrokerError, PublisherError))
        if known is None or others is not None:
            raise
        return _failed(_first(known))
    except (QuickstartFailed, BrokerError, PublisherError) as error:
        return _failed(error)


def _failed(error: BaseException) -> int:
    typer.echo(f"quickstart failed: {' '.join(str(error).split())}", err=True)
    return 1


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        nested = cast("BaseExceptionGroup[BaseException]", found)
        found = nested.exceptions[0]
    return found


async def _until_signal(options: StageOptions) -> int:
    """Play until the end or a signal; a signal after the verdict is the wish to stop, and no fault.

    A second signal kills what is still being stopped.
    """
    loop, story = asyncio.get_running_loop(), asyncio.current_task()
    assert story is not None, "coroutines run in tasks"
    got: list[signal.Signals] = []
    told: list[str] = []

    def stop(number: signal.Signals) -> None:
        got.append(number)
        story.cancel()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        await _play(options, told.append)
    except BaseException:
        if not got:
            raise
        # Ours to take back: nobody else has cancelled this task.
        while story.uncancel():
            pass
        return 0 if told else 128 + got[0]
    return 0


async def _play(options: StageOptions, on_told: Callable[[str], None]) -> None:
    display = Display()
    held_out = (await asyncio.to_thread(digits.load))[1]
    board = Scoreboard(len(held_out), display.tell)
    with Workspace(options.data_dir) as workspace, ExitStack() as screen:
        screen.enter_context(display.shown(board))
        async with serving(workspace, board.say) as servers, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(servers.watch())
            await Show(servers, workspace, held_out, board, options.pace).run()
            faults = verdict.faults(board, options.pace.versions)
            if faults:
                raise QuickstartFailed(f"{'; '.join(faults)}; logs: {workspace.path / 'logs'}")
            line = verdict.ok_line(board)
            if options.keep_running:
                screen.close()
                typer.echo(line)
                on_told(line)
                typer.echo(guide.text(servers.connection, await servers.ready()), err=True)
                await asyncio.Event().wait()
            watching.cancel()
    # The last word, when everything has stopped: whoever reads it finds nothing left running.
    typer.echo(line)
