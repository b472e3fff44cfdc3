"""Rules of batching, seen in a real worker by a model that tells how many rows it was given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.schemas.records import Batching, LargeRequests
from tests.integration.consumer.conftest import Load
from tests.integration.consumer.workers.rig import Outcome, ask, avro, one, outputs, proto

pytestmark = pytest.mark.asyncio(loop_scope="module")

Floats = npt.NDArray[np.float32]
PADS = Batching(pads_variable_length=True)


def x(*lengths: int) -> list[Floats]:
    """Return inputs of one row of each of these lengths."""
    return [np.arange(1, length + 1, dtype=np.float32)[None] for length in lengths]


def open_inference(array: Floats) -> Calls:
    """Return one call in the Open Inference Protocol."""
    tensor = ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=array.shape)
    request = ModelInferRequest(
        model_name="m", inputs=[tensor], raw_input_contents=[array.tobytes()]
    )
    return one(Encoding.OPEN_INFERENCE, request.SerializeToString())


def as_json(array: Floats) -> Calls:
    """Return one call in TensorFlow Serving's JSON."""
    return one(Encoding.TENSORFLOW_JSON, json.dumps({"instances": array.tolist()}).encode())


def call(encoding: Encoding, array: Floats) -> Calls:
    """Return one call in an encoding."""
    match encoding:
        case Encoding.OPEN_INFERENCE:
            return open_inference(array)
        case Encoding.TENSORFLOW_JSON:
            return as_json(array)
        case Encoding.AVRO:
            return avro({"x": array})
        case _:
            return proto({"x": array})


def answered(encoding: Encoding, outcome: Outcome) -> tuple[list[list[float]], list[int]]:
    """Return y and rows of an answer."""
    assert outcome.fault is None, outcome
    if encoding is Encoding.TENSORFLOW_JSON:
        rows: list[dict[str, Any]] = json.loads(outcome.payload)["predictions"]
        return [row["y"] for row in rows], [row["rows"] for row in rows]
    if encoding is Encoding.OPEN_INFERENCE:
        response = ModelInferResponse.FromString(outcome.payload)
        raw = dict(
            zip((each.name for each in response.outputs), response.raw_output_contents, strict=True)
        )
        shapes = {each.name: each.shape for each in response.outputs}
        y = np.frombuffer(raw["y"], np.float32).reshape(shapes["y"])
        return y.tolist(), np.frombuffer(raw["rows"], np.int64).tolist()
    found = outputs(outcome)
    return found["y"].tolist(), found["rows"].tolist()


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding.AVRO,
        Encoding.TENSORFLOW_SERVING,
        Encoding.OPEN_INFERENCE,
        Encoding.TENSORFLOW_JSON,
    ],
)
async def test_lengths_share_a_run_in_every_encoding(load: Load, encoding: Encoding) -> None:
    """Once runs have shown which output follows, all run as one and get their own length back."""
    servable = await load("ragged", PADS)
    for is_known in (False, True):
        sent = x(3, 1, 5, 3)
        result = await ask(servable, [call(encoding, each) for each in sent])
        for each, outcome in zip(sent, result, strict=True):
            y, rows = answered(encoding, outcome)
            assert y == (2 * each).tolist()
            assert rows == [4 if is_known else 1]


async def test_strings_of_different_lengths_share_a_run(load: Load) -> None:
    """TensorFlow's strings are padded and cut like its numbers."""
    servable = await load("ragged", PADS)
    texts = [[b"a"], [b"b", b"c", b"d"], [b"e", b""]]
    calls = [avro({"text": np.array([text], object)}, signature="text") for text in texts]
    for _ in range(2):
        result = await ask(servable, calls)
        assert [outputs(each)["upper"].tolist() for each in result] == [
            [[word.upper() for word in text]] for text in texts
        ]


def rows_of(result: Sequence[Outcome]) -> list[list[int]]:
    """Return for each answer how many rows were run together, row by row."""
    return [outputs(each)["rows"].tolist() for each in result]


async def test_runs_have_allowed_sizes(load: Load) -> None:
    """The graph sees no other number of rows."""
    servable = await load("ragged", Batching(max_rows=8, allowed_rows=(2, 4, 8)))
    result = await ask(servable, [avro({"x": each}) for each in x(2, 2, 2)])
    assert rows_of(result) == [[4], [4], [4]]
    assert rows_of(await ask(servable, [avro({"x": x(2)[0]})])) == [[2]]


async def test_large_requests_are_split_or_refused(load: Load) -> None:
    """Their parts come back as one answer; or they fail, and their neighbours do not."""
    large = np.arange(20, dtype=np.float32).reshape(10, 2)
    servable = await load("ragged", Batching(max_rows=4, large_requests=LargeRequests.SPLIT))
    [whole, small] = await ask(servable, [proto({"x": large}), proto({"x": x(2)[0]})])
    np.testing.assert_array_equal(outputs(whole)["y"], 2 * large)
    assert rows_of([whole, small]) == [[4] * 8 + [2] * 2, [1]]
    servable.rebatch(Batching(max_rows=4, large_requests=LargeRequests.REFUSE))
    [refused, small] = await ask(servable, [proto({"x": large}), proto({"x": x(2)[0]})])
    assert refused.code is Code.INVALID_ARGUMENT
    assert "Task size 10 is larger than maximum input batch size 4" in refused.message
    assert rows_of([small]) == [[1]]


async def test_a_shape_that_does_not_fit_is_nobody_elses_trouble(load: Load) -> None:
    """A neighbour of another rank, or of none, is for the graph to take or to refuse, alone."""
    servable = await load("ragged", PADS)
    cube, scalar = np.ones((1, 2, 2), np.float32), np.array(1.0, np.float32)
    arrays: list[Floats] = [x(2)[0], cube, x(3)[0], scalar]
    result = await ask(servable, [avro({"x": each}) for each in arrays])
    assert [each.code is Code.OK for each in result] == [True, True, True, False]


async def test_new_rules_count_at_once(load: Load) -> None:
    """Rules are changed in the running worker."""
    servable = await load("ragged")
    calls = [avro({"x": each}) for each in x(1, 2)]
    assert rows_of(await ask(servable, calls)) == [[1], [1]]
    servable.rebatch(PADS)
    await ask(servable, calls)
    assert rows_of(await ask(servable, calls)) == [[2], [2]]
