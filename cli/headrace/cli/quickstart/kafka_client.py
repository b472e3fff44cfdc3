"""The Kafka client of the quickstart: asks for held-out digits without pause, and counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from headrace.cli.quickstart.digits import Digits
from headrace.cli.quickstart.tally import Tally
from headrace.publisher import Inference, InferenceClient, InferenceFailed
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import to_tensor

_LANES: Final = 2
_AT_ONCE: Final = 64


async def ask(
    client: InferenceClient,
    requests: Sequence[InferenceRequest],
    tally: Tally,
    is_over: asyncio.Event,
    on_count: Callable[[], None],
) -> None:
    """Ask until `is_over` is set, and return when everything that was sent is answered.

    A bounded number of requests is under way at any time; what is answered makes room.
    """
    turns = itertools.cycle(range(len(requests)))

    async def ask_in_turn() -> None:
        while not is_over.is_set():
            indexes = list(itertools.islice(turns, _AT_ONCE))
            tally.send(len(indexes))
            answers = await client.infer_many([requests[index] for index in indexes])
            for index, answer in zip(indexes, answers, strict=True):
                _count(tally, index, answer)
            on_count()

    async with asyncio.TaskGroup() as lanes:
        for _ in range(_LANES):
            lanes.create_task(ask_in_turn())


def requests_for(model: str, held_out: Digits) -> list[InferenceRequest]:
    """Return one request per digit, in their order."""
    return [
        InferenceRequest(
            model=model, output_filter=("class",), inputs=(to_tensor("image", image[None]),)
        )
        for image in held_out.images
    ]


def _count(tally: Tally, index: int, answer: Inference | InferenceFailed) -> None:
    if isinstance(answer, InferenceFailed):
        tally.fail(str(answer))
    elif answer.version is None:
        tally.fail("an answer does not say which version it comes from")
    else:
        tally.answer(answer.version, index, int(answer.outputs["class"][0]))
