"""Real models in real workers, asked through the gRPC door by Triton's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import aio

from headrace.consumer.core.choice import Serving
from tests.integration.consumer.conftest import Load
from tests.integration.consumer.rpc.rig import ready_rig
from tests.integration.consumer.rpc.triton import (
    Client,
    RequestedOutput,
    aio_client,
    error_of,
    inputs_of,
    messages,
    stub,
)
from tests.integration.consumer.workers.rig import publish
from tests.models import model

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def serving(load: Load, store: Path, name: str) -> AsyncGenerator[Client]:
    """Open a door to one real model, and Triton's client to it."""
    rig = ready_rig()
    planned = publish(model(name), store)
    rig.serving_map.model(name).serving[1] = Serving(planned, await load(name))
    async with aio_client(rig) as client:
        yield client


@pytest.mark.parametrize("name", ["half_plus_two", "half_plus_two_tf1"])
async def test_models_of_both_kinds_answer(load: Load, store: Path, name: str) -> None:
    """A TF1 and a TF2 model, one row and several."""
    async with serving(load, store, name) as triton:
        for rows in ([[1.0]], [[1.0], [2.0], [5.0]]):
            x = np.array(rows, np.float32)
            answer = await triton.infer(name, inputs_of(x=x), request_id="r")
            np.testing.assert_array_equal(answer.as_numpy("y"), x / 2 + 2)
            assert answer.get_response().id == "r"
            assert answer.get_response().model_version == "1"


async def test_many_requests_with_ids_of_their_own_get_their_own_answers(
    load: Load, store: Path
) -> None:
    """They reach the worker together, where those of one form are read at once."""
    async with serving(load, store, "half_plus_two") as triton:
        asked = [
            triton.infer(
                "half_plus_two",
                inputs_of(x=np.full((number % 3 + 1, 1), number, np.float32)),
                request_id=f"request-{number}",
            )
            for number in range(200)
        ]
        for number, answer in enumerate(await asyncio.gather(*asked)):
            assert answer.get_response().id == f"request-{number}"
            np.testing.assert_array_equal(
                answer.as_numpy("y"), np.full((number % 3 + 1, 1), number / 2 + 2)
            )


async def test_strings_go_in_and_come_out(load: Load, store: Path) -> None:
    """Each after its length, in both directions."""
    async with serving(load, store, "upper") as triton:
        text = np.array([b"pear", b"", b"plum " * 100], np.object_)
        answer = await triton.infer("upper", inputs_of(text=text))
        assert answer.as_numpy("upper").tolist() == [b"PEAR", b"", b"PLUM " * 100]
        metadata = await triton.get_model_metadata("upper")
        assert [(each.name, each.datatype) for each in metadata.inputs] == [("text", "BYTES")]


async def test_empty_tensors_and_scalars_have_their_shapes(load: Load, store: Path) -> None:
    """A tensor without elements is one, and so is one without dimensions."""
    async with serving(load, store, "next_int64") as triton:
        answer = await triton.infer("next_int64", inputs_of(x=np.zeros(0, np.int64)))
        assert answer.as_numpy("y").shape == (0,)
    async with serving(load, store, "total") as triton:
        answer = await triton.infer("total", inputs_of(x=np.ones(4, np.float32)))
        assert (answer.as_numpy("total").shape, float(answer.as_numpy("total"))) == ((), 4.0)


async def test_signature_is_a_parameter(load: Load, store: Path) -> None:
    """Triton's client has no other place for it."""
    async with serving(load, store, "next_int64") as triton:
        x = inputs_of(x=np.array([5], np.int64))
        up = await triton.infer("next_int64", x)
        down = await triton.infer("next_int64", x, parameters={"headrace_signature": "previous"})
        assert (up.as_numpy("y").tolist(), down.as_numpy("y").tolist()) == ([6], [4])
        code, message = await error_of(
            triton.infer("next_int64", x, parameters={"headrace_signature": "none"})
        )
        assert code == "FAILED_PRECONDITION"
        assert '"none" not found in signature def' in message


@pytest.mark.parametrize("wanted", [["sum"], ["sum", "product"], ["product", "sum"]])
async def test_outputs_come_as_they_are_asked_for(
    load: Load, store: Path, wanted: list[str]
) -> None:
    """Only those, and in that order: their packed bytes have no names."""
    async with serving(load, store, "sum_and_product") as triton:
        a, b = np.full((1, 3), 2, np.float32), np.full((1, 3), 5, np.float32)
        answer = await triton.infer(
            "sum_and_product", inputs_of(a=a, b=b), outputs=[RequestedOutput(w) for w in wanted]
        )
        assert [output.name for output in answer.get_response().outputs] == wanted
        values = {"sum": 7, "product": 10}
        for name in wanted:
            assert answer.as_numpy(name).tolist() == [[values[name]] * 3]


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "missing": ({"a": np.zeros((1, 3), np.float32)}, {}, "missing: b"),
    "unexpected": (
        {name: np.zeros((1, 3), np.float32) for name in "abc"},
        {},
        "unexpected: c",
    ),
    "mistyped": (
        {"a": np.zeros((1, 3), np.float32), "b": np.zeros((1, 3), np.int64)},
        {},
        "input 'b' expects float32 but int64 is provided",
    ),
    "unknown output": (
        {name: np.zeros((1, 3), np.float32) for name in "ab"},
        {"outputs": [RequestedOutput("z")]},
        "output tensor alias not found in signature: z",
    ),
    "classification": (
        {name: np.zeros((1, 3), np.float32) for name in "ab"},
        {"outputs": [RequestedOutput("sum", class_count=2)]},
        "output 'sum' has the parameter classification, which is not served here",
    ),
}


@pytest.mark.parametrize(("arrays", "options", "words"), REFUSED.values(), ids=REFUSED)
async def test_request_that_does_not_fit_is_refused(
    load: Load, store: Path, arrays: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    """In the words that every door has for it."""
    async with serving(load, store, "sum_and_product") as triton:
        code, message = await error_of(
            triton.infer("sum_and_product", inputs_of(**arrays), **options)
        )
        assert code == "INVALID_ARGUMENT"
        assert words in message


async def test_bytes_that_do_not_fill_their_shape_are_refused(load: Load, store: Path) -> None:
    """Among good ones that are read with them, too."""
    rig = ready_rig()
    planned = publish(model("half_plus_two"), store)
    rig.serving_map.model("half_plus_two").serving[1] = Serving(
        planned, await load("half_plus_two")
    )
    request = messages.ModelInferRequest(model_name="half_plus_two")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.float32(1).tobytes())
    wrong = messages.ModelInferRequest.FromString(request.SerializeToString())
    wrong.raw_input_contents[0] = b"123"
    async with rig.open() as channel:
        infer = stub(channel).ModelInfer
        asked = [infer(wrong if number == 3 else request) for number in range(8)]
        answers = await asyncio.gather(*map(outcome, asked))
    assert answers.pop(3) == "INVALID_ARGUMENT"
    assert answers == ["OK"] * 7


async def outcome(call: Any) -> str:  # noqa: ANN401 - Triton's call
    """Return the code that a call ends in."""
    with suppress(aio.AioRpcError):
        await call
    return str((await call.code()).name)


async def test_stream_of_many_requests_is_answered_in_order(load: Load, store: Path) -> None:
    """One that fails among them is answered in its place."""

    async def requests() -> AsyncGenerator[dict[str, Any]]:
        for number in range(150):
            x = np.full((1, 1), number, np.float64 if number == 70 else np.float32)
            yield {"model_name": "half_plus_two", "inputs": inputs_of(x=x)}

    async with serving(load, store, "half_plus_two") as triton, asyncio.timeout(60):
        answers = [each async for each in triton.stream_infer(requests())]
    assert len(answers) == 150
    for number, (result, error) in enumerate(answers):
        if number == 70:
            assert "input 'x' expects float32 but float64 is provided" in str(error)
        else:
            assert result.as_numpy("y").tolist() == [[number / 2 + 2]]
