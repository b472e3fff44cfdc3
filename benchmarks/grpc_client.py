"""A gRPC client of the digits model at a fixed rate, in its own process.

`python -m benchmarks.grpc_client ENDPOINT RATE FILE` asks until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
from grpc import aio

from benchmarks import open_loop
from benchmarks.predict_wire import answered_version, predict_call, request_bytes

_DEADLINE_SECONDS = 30.0


async def main(endpoint: str, rate: float, output: Path) -> None:
    """Ask about one blank image at a time."""
    request = request_bytes("digits", "image", np.zeros((1, 64), np.float32))
    async with aio.insecure_channel(endpoint) as channel:
        predict = predict_call(channel)

        async def ask() -> int:
            try:
                return answered_version(await predict(request, timeout=_DEADLINE_SECONDS))
            except aio.AioRpcError as error:
                raise open_loop.Refused(f"{error.code().name}: {error.details()}") from error

        await open_loop.run(ask, rate, output)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])))
