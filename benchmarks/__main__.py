"""The program: `python -m benchmarks [NAME …] [--quick] [--output FOLDER]`, or `… report`.

Runs each benchmark in a scratch folder, keeps its result, and writes the report anew.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, report, results
from benchmarks.measurement import Bench, BenchmarkError, Measured
from headrace.cli.broker import BrokerError
from headrace.publisher.connection import quiet_logs
from headrace.publisher.errors import PublisherError

_MODULES: Final = {
    "version_events": "benchmarks.version_events",
    "control_replay": "benchmarks.replay",
    "unload_memory": "benchmarks.unload_memory",
    "swaps_under_load": "benchmarks.swaps_under_load",
    "grpc_throughput": "benchmarks.grpc",
    "grpc_large": "benchmarks.rpc.large",
    "grpc_latency": "benchmarks.rpc.latency",
    "grpc_overload": "benchmarks.rpc.overload",
    "grpc_shared_port": "benchmarks.rpc.shared_port",
    "core_throughput": "benchmarks.rpc.core",
    "kafka_throughput": "benchmarks.kafka.throughput",
    "kafka_latency": "benchmarks.kafka.latency",
    "kafka_growth": "benchmarks.kafka.growth",
    "experiment_routing": "benchmarks.experiments.routing",
    "experiment_rollback": "benchmarks.experiments.rollback",
    "experiment_shadow": "benchmarks.experiments.shadow",
}
_GROUPS: Final = {
    "grpc": (
        "grpc_throughput",
        "grpc_large",
        "grpc_latency",
        "grpc_overload",
        "grpc_shared_port",
        "core_throughput",
    ),
    "kafka": ("kafka_throughput", "kafka_latency", "kafka_growth"),
    "experiments": ("experiment_routing", "experiment_rollback", "experiment_shadow"),
}
_REPORT: Final = "report"
_EXPECTED: Final = (BenchmarkError, BrokerError, PublisherError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named, or everything; return the exit code: 0 done, 1 something failed."""
    options = _parse(arguments)
    # Topics that are a second old have no leader yet, and aiokafka says so at length.
    quiet_logs(level=logging.CRITICAL)
    names: list[str] = options.names or list(_MODULES)
    names = [name for given in names for name in _GROUPS.get(given, (given,))]
    folder: Path | None = options.output
    if folder is None and not options.quick:
        folder = results.FOLDER
    failed: list[str] = []
    try:
        if names != [_REPORT]:
            failed = [name for name in names if not _measure(name, folder, is_quick=options.quick)]
        if folder is not None:
            _tell(f"wrote {report.write(folder)}")
    except BenchmarkError as error:
        _tell(str(error))
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    if failed:
        _tell(f"not measured: {', '.join(failed)}")
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what docs/performance.md reports, and write the report anew.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to measure: {', '.join((*_MODULES, *_GROUPS))} (default: all); "
        f"or '{_REPORT}' to only write the report anew",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small runs that show that the benchmarks work"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the results (default: benchmarks/results; none with --quick)",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in (*_MODULES, *_GROUPS, _REPORT)]
    if unknown or (_REPORT in options.names and len(options.names) > 1):
        parser.error(f"give names of {', '.join((*_MODULES, *_GROUPS))}, or '{_REPORT}' alone")
    return options


def _measure(name: str, folder: Path | None, *, is_quick: bool) -> bool:
    """Run one benchmark and keep its result; return whether it worked."""
    _tell(f"{name} …")
    before = machine.describe()
    measured: Measured | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-benchmark-") as scratch:
            bench = Bench(
                folder=Path(scratch), is_quick=is_quick, tell=lambda line: _tell(f"  {line}")
            )
            measured = asyncio.run(_until_terminated(name, bench))
    except (BenchmarkError, BrokerError, PublisherError, BaseExceptionGroup) as failure:
        errors = _leaves(failure)
        if not all(isinstance(error, _EXPECTED) for error in errors):
            raise
        for error in errors:
            _tell(f"{name} failed: {error}")
    if measured is None:
        return False
    outcome = results.result(name, before, measured, is_quick=is_quick)
    if folder is None:
        print(results.to_json(outcome))
    else:
        _tell(f"wrote {results.write(folder, outcome)}")
    return True


async def _until_terminated(name: str, bench: Bench) -> Measured:
    """Run a benchmark; SIGTERM cancels it, so that its processes are ended in order."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    module: Any = importlib.import_module(_MODULES[name])
    measured: Measured = await module.run(bench)
    return measured


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the single errors inside groups of groups, or the error itself."""
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return [leaf for part in inner for leaf in _leaves(part)] if inner else [error]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
