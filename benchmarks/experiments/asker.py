"""A gRPC client of a model at a fixed rate, in its own process, by label or by what is latest.

`python -m benchmarks.experiments.asker ENDPOINT RATE FILE [LABEL]` asks until its standard input
ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import numpy as np
from grpc import aio

from benchmarks import open_loop
from benchmarks.experiments.going_back import MODEL
from benchmarks.predict_wire import answered_version, predict_call, request_bytes
from headrace.protos.tensorflow_serving_pb2 import PredictRequest

_DEADLINE_SECONDS: Final = 30.0


async def main(endpoint: str, rate: float, output: Path, label: str = "") -> None:
    """Ask about one blank image at a time."""
    request = PredictRequest.FromString(
        request_bytes(MODEL, "image", np.zeros((1, 64), np.float32))
    )
    if label:
        request.model_spec.version_label = label
    encoded = request.SerializeToString()
    async with aio.insecure_channel(endpoint) as channel:
        predict = predict_call(channel)

        async def ask() -> int:
            try:
                return answered_version(await predict(encoded, timeout=_DEADLINE_SECONDS))
            except aio.AioRpcError as error:
                raise open_loop.Refused(f"{error.code().name}: {error.details()}") from error

        await open_loop.run(ask, rate, output)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]))
