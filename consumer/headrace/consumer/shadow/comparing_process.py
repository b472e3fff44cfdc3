"""The process that compares: `python -m headrace.consumer.shadow.comparing_process`.

Reads jobs from standard input, writes encoded records to standard output, one message for each
job. It gives way to everything else on the machine, and ends when its standard input does: with
the node, whatever ends that.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_NICEST: Final = 19


def main() -> None:
    """Compare until nobody asks any more."""
    # Before anything else: what is imported below takes a while, too.
    os.nice(_NICEST)
    with suppress(OSError):
        # Where memory is short, this goes before what serves.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Ctrl-C reaches every process of the terminal; it is the node that decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)


def _serve(jobs: BinaryIO, found: BinaryIO) -> None:
    import msgspec  # noqa: PLC0415 - see main

    from headrace.consumer.shadow.comparing import records  # noqa: PLC0415
    from headrace.consumer.shadow.messages import LENGTH, Job  # noqa: PLC0415

    decoder, encoder = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Encoder()
    while len(head := jobs.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        body = jobs.read(size)
        if len(body) < size:
            return
        answer = encoder.encode(records(decoder.decode(body)))
        found.write(LENGTH.pack(len(answer)) + answer)
        found.flush()


if __name__ == "__main__":
    main()
