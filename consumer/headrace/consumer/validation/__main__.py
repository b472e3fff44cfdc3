"""Tries one candidate: reads a `Trial` from standard input, writes `Report`s to standard output.

A process that a publisher starts and ends; when the publisher is gone, it ends itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from headrace.schemas.trial import Report, Trial, Verdict


def main() -> int:
    """Try the candidate and return the exit code: 0 when there was a verdict."""

    def tell(report: Report) -> None:
        sys.stdout.buffer.write(report.encode())
        sys.stdout.buffer.flush()

    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        sys.stderr.write("nothing is asked: a publisher starts this, see 'headrace publish'\n")
        return 1
    threading.Thread(target=_end_with, args=[sys.stdin.buffer], daemon=True).start()
    tell(_verdict(Trial.decode(line), tell))
    return 0


def _verdict(trial: Trial, tell: Callable[[Report], None]) -> Report:
    try:
        # Imported late: where there is no platform, this is what fails.
        from headrace.consumer import logs  # noqa: PLC0415
        from headrace.consumer.validation.trying import try_out  # noqa: PLC0415
    except ModuleNotFoundError as error:
        extra = "onnx" if trial.platform == "onnx" else "serving"
        words = f"{error}; examples need the {extra} extra: pip install 'headrace[{extra}]'"
        return Report(verdict=Verdict.UNAVAILABLE, faults=[words])
    logs.configure("error", "json")
    return asyncio.run(try_out(trial, tell))


def _end_with(stream: BinaryIO) -> None:
    """End the process when the publisher closes its end of a stream, as when it was killed."""
    while stream.read(4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
