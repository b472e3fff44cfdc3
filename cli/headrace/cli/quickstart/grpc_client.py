"""A gRPC client as a process: asks for held-out digits without pause, and counts the answers.

It is written as any user of TensorFlow Serving writes it: TensorFlow Serving's own published
stubs, nothing of Headrace's. (Importing those imports TensorFlow, hence a process of its own.)
The first line on standard input names the node, HOST:PORT, and is the signal to begin; at the end
of standard input it finishes what is under way.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Protocol

import grpc.aio
import tensorflow as tf  # type: ignore[import-untyped]
import typer
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    predict_pb2,
    prediction_service_pb2_grpc,
)

from headrace.cli.quickstart import digits, messages
from headrace.cli.quickstart.tally import Tally

_DEADLINE_SECONDS: Final = 10.0
_REPORT_SECONDS: Final = 0.25

# None of them is typed.
_tensorflow: Any = tf
_predict_pb2: Any = predict_pb2

_Model = Annotated[str, typer.Option(help="Name of the model.")]
_Outstanding = Annotated[int, typer.Option(min=1, help="Requests under way at once.")]


class _Stub(Protocol):
    """What of TensorFlow Serving's generated stub is used; it ships no types."""

    Predict: Callable[..., Awaitable[Any]]


def ask(model: _Model = "digits", outstanding: _Outstanding = 8) -> None:
    """Ask a node to read digits until standard input ends; count the answers per version."""
    held_out = digits.load()[1]
    tally = Tally(held_out.labels)
    asyncio.run(_ask(_requests(model, held_out), tally, outstanding))
    _report(tally)


def _requests(model: str, held_out: digits.Digits) -> list[Any]:
    requests: list[Any] = []
    for image in held_out.images:
        request = _predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["image"].CopyFrom(_tensorflow.make_tensor_proto(image[None]))
        request.output_filter.append("class")
        requests.append(request)
    return requests


async def _ask(requests: Sequence[Any], tally: Tally, outstanding: int) -> None:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    endpoint = (await stdin.readline()).decode().strip()
    if not endpoint:
        return
    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub: _Stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        is_over = asyncio.Event()
        turns = itertools.cycle(range(len(requests)))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(outstanding):
                tasks.create_task(_ask_in_turn(stub, requests, tally, turns, is_over))
            reporting = tasks.create_task(_report_often(tally))
            await stdin.read()
            is_over.set()
            reporting.cancel()


async def _ask_in_turn(
    stub: _Stub, requests: Sequence[Any], tally: Tally, turns: Iterator[int], is_over: asyncio.Event
) -> None:
    while not is_over.is_set():
        index = next(turns)
        tally.send()
        try:
            response = await stub.Predict(requests[index], timeout=_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            tally.fail(f"{error.code().name}: {error.details()}")
            continue
        digit = int(_tensorflow.make_ndarray(response.outputs["class"])[0])
        tally.answer(response.model_spec.version.value, index, digit)


async def _report_often(tally: Tally) -> None:
    while True:
        _report(tally)
        await asyncio.sleep(_REPORT_SECONDS)


def _report(tally: Tally) -> None:
    sys.stdout.buffer.write(messages.encode(tally.counted()))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    typer.run(ask)
