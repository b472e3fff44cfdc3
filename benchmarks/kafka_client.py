"""A Kafka client of the digits model at a fixed rate, in its own process.

`python -m benchmarks.kafka_client BOOTSTRAP_SERVERS RATE FILE` asks until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from benchmarks import open_loop
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import InferenceFailed
from headrace.publisher.requests import InferenceClient


async def main(bootstrap_servers: str, rate: float, output: Path) -> None:
    """Ask about one blank image at a time."""
    image = np.zeros((1, 64), np.float32)
    async with InferenceClient(KafkaConnection(bootstrap_servers)) as client:

        async def ask() -> int:
            try:
                answer = await client.infer("digits", {"image": image})
            except InferenceFailed as failure:
                raise open_loop.Refused(str(failure)) from failure
            return answer.version or 0

        await open_loop.run(ask, rate, output)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])))
