"""A REST client of the digits model at a fixed rate, in its own process.

`python -m benchmarks.rest_client ENDPOINT RATE FILE` asks until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks import open_loop

PATH: Final = "/v1/models/digits:predict"
IMAGE: Final = {"inputs": {"image": [[0.0] * 64]}}
_VERSION: Final = "headrace-version"
_DEADLINE_SECONDS: Final = 30.0


async def is_answered(endpoint: str) -> bool:
    """Whether a node answers predict over REST."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{endpoint}{PATH}", json=IMAGE) as answer,
    ):
        return answer.ok


async def main(endpoint: str, rate: float, output: Path) -> None:
    """Ask about one blank image at a time."""
    timeout = aiohttp.ClientTimeout(total=_DEADLINE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def ask() -> int:
            try:
                async with session.post(f"http://{endpoint}{PATH}", json=IMAGE) as answer:
                    said = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise open_loop.Refused(repr(error)) from error
            if not answer.ok:
                raise open_loop.Refused(f"{answer.status}: {said[:200]}")
            return int(answer.headers[_VERSION])

        await open_loop.run(ask, rate, output)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])))
