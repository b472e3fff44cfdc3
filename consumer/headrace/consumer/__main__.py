"""The serving node alone: `python -m headrace.consumer`, the same as `headrace serve`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import cast

from headrace.consumer import logs
from headrace.consumer.core.errors import NodeError
from headrace.consumer.settings import Settings
from headrace.publisher.errors import PublisherError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node until SIGTERM or SIGINT; return the exit code: 0 done, 1 failed, 2 usage."""
    try:
        settings = Settings.from_arguments(sys.argv[1:] if arguments is None else arguments)
    except NodeError as error:
        sys.stderr.write(f"headrace serve: {error}\n")
        return 2
    if settings.print_config:
        sys.stdout.write(f"{settings.as_toml()}\n")
        return 0
    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(_run_until_signal(settings))
    except (NodeError, PublisherError, BaseExceptionGroup) as failure:
        leaves = _leaves(failure)
        if not all(isinstance(leaf, (NodeError, PublisherError)) for leaf in leaves):
            raise
        for leaf in leaves:
            sys.stderr.write(f"headrace serve: {leaf}\n")
        return 1
    return 0


async def _run_until_signal(settings: Settings) -> None:
    """Run the node; the first signal asks it to stop, a second one ends it at once."""
    # Imported late: --help and a bad setting need none of the node.
    from headrace.consumer import node  # noqa: PLC0415

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    stop_signals = (signal.SIGTERM, signal.SIGINT)

    def ask_to_stop() -> None:
        stop.set()
        for number in stop_signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in stop_signals:
        loop.add_signal_handler(number, ask_to_stop)
    await node.run(settings, stop)


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the single errors inside groups of groups, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for part in group.exceptions for leaf in _leaves(part)]


if __name__ == "__main__":
    sys.exit(main())
