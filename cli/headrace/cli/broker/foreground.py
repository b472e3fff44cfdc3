"""A broker in the foreground of a terminal or script: ready line, signals, orderly end."""

import asyncio
import signal
from pathlib import Path

import typer

from headrace.cli.broker.embedded import EmbeddedBroker
from headrace.cli.broker.errors import BrokerError, KafkaProcessError
from headrace.cli.broker.progress import Progress


def _stop_signals() -> list[signal.Signals]:
    """Ctrl-C, a request to end, and a closed terminal unless the user said nohup."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


def run_in_foreground(port: int, data_dir: Path | None) -> int:
    """Run a broker until SIGINT, SIGTERM or SIGHUP, and return the exit code of the command."""
    try:
        asyncio.run(_run_until_signal(port, data_dir))
    except BrokerError as error:
        typer.echo(f"error: {error}", err=True)
        if isinstance(error, KafkaProcessError):
            for line in error.log_tail:
                typer.echo(f"  {line}", err=True)
        return 1
    return 0


async def _run_until_signal(port: int, data_dir: Path | None) -> None:
    """Signals count from the first moment, also while jars are fetched."""
    loop = asyncio.get_running_loop()
    # A deadline that a signal brings about: whatever is awaited is cancelled and cleans up.
    life = asyncio.timeout(None)
    try:
        async with life:
            for number in _stop_signals():
                loop.add_signal_handler(number, _end, life)
            await _serve(port, data_dir)
    except TimeoutError:
        if not life.expired():
            raise


def _end(life: asyncio.Timeout) -> None:
    """End `life` now; a second signal changes nothing, since stopping is bounded anyway."""
    if not life.expired():
        life.reschedule(asyncio.get_running_loop().time())


async def _serve(port: int, data_dir: Path | None) -> None:
    with Progress() as tell:
        broker = EmbeddedBroker(port=port, data_dir=data_dir, on_progress=tell)
        await broker.start()
    try:
        kept = "kept" if data_dir else "temporary"
        typer.echo(f"Kafka answers; data in {broker.data_dir} ({kept}); Ctrl-C stops it", err=True)
        typer.echo(f"broker.ready bootstrap_servers={broker.bootstrap_servers}")
        await broker.wait()
    finally:
        await broker.stop()
