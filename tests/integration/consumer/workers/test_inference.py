"""Real models in real workers, asked in both encodings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.protos.tensorflow_serving_pb2 import PredictResponse, SignatureDefMap
from headrace.schemas import codec
from headrace.schemas.records import Batching, InferenceResponse
from tests.integration.consumer.workers.conftest import Load
from tests.integration.consumer.workers.rig import (
    ENCODINGS,
    ask,
    avro,
    column,
    floats,
    one,
    outputs,
    proto,
)
from tests.models import VOCABULARY

pytestmark = pytest.mark.asyncio(loop_scope="module")
MakeCall = Callable[..., Calls]
each_encoding = pytest.mark.parametrize("call", ENCODINGS.values(), ids=ENCODINGS)


@each_encoding
@pytest.mark.parametrize("name", ["half_plus_two", "half_plus_two_tf1"])
async def test_answers_by_either_encoding(load: Load, name: str, call: MakeCall) -> None:
    """A TF1 and a TF2 model answer both encodings with the same numbers."""
    servable = await load(name)
    [answer] = await ask(servable, [call(column(1.0, 2.0, 5.0))])
    np.testing.assert_array_equal(outputs(answer)["y"], [[2.5], [3.0], [4.5]])


async def test_says_which_model_answered(load: Load) -> None:
    """An answer names the model, the resolved version and the resolved signature."""
    servable = await load("half_plus_two")
    first, second = await ask(servable, [avro(column(1.0)), proto(column(1.0))])
    record = codec.decode(first.payload, InferenceResponse)
    assert (record.model, record.version) == ("half_plus_two", 1)
    assert record.signature == "serving_default"
    spec = PredictResponse.FromString(second.payload).model_spec
    assert (spec.name, spec.version.value) == ("half_plus_two", 1)
    assert spec.signature_name == "serving_default"


async def test_describes_its_signatures(load: Load) -> None:
    """The signatures are there as GetModelMetadata returns them, without the initialiser's."""
    servable = await load("next_int64")
    signatures = SignatureDefMap.FromString(servable.signature_def).signature_def
    assert sorted(signatures) == ["previous", "serving_default"]
    assert list(signatures["previous"].inputs) == ["x"]


@each_encoding
async def test_strings_go_in_and_come_out(load: Load, call: MakeCall) -> None:
    """A model of strings gets and gives bytes."""
    servable = await load("upper")
    text = np.array([b"b\xc3\xa4h", b""], object)
    [answer] = await ask(servable, [call({"text": text})])
    assert outputs(answer)["upper"].tolist() == [b"B\xc3\xa4H", b""]


@each_encoding
async def test_tables_are_initialised(load: Load, call: MakeCall) -> None:
    """A vocabulary table finds its asset and its words."""
    servable = await load("vocabulary")
    words = np.array([VOCABULARY[2].encode(), b"stone"], object)
    [answer] = await ask(servable, [call({"word": words})])
    assert outputs(answer)["id"].tolist() == [2, -1]


@each_encoding
async def test_output_filter_computes_only_what_is_asked(load: Load, call: MakeCall) -> None:
    """Two inputs, one of two outputs."""
    servable = await load("sum_and_product")
    a, b = np.full((2, 3), 2, np.float32), np.full((2, 3), 5, np.float32)
    everything, filtered = await ask(
        servable, [call({"a": a, "b": b}), call({"a": a, "b": b}, output_filter=["product"])]
    )
    assert sorted(outputs(everything)) == ["product", "sum"]
    assert outputs(filtered).keys() == {"product"}
    np.testing.assert_array_equal(outputs(filtered)["product"], np.full((2, 3), 10))


@each_encoding
async def test_other_signatures_are_served(load: Load, call: MakeCall) -> None:
    """A signature is chosen by its name."""
    servable = await load("next_int64")
    [answer] = await ask(servable, [call({"x": np.array([7])}, signature="previous")])
    assert outputs(answer)["y"].tolist() == [6]


@each_encoding
async def test_scalars_come_out(load: Load, call: MakeCall) -> None:
    """A scalar output has no dimension, and each request gets its own."""
    servable = await load("total")
    answers = await ask(servable, [call(floats(*range(n))) for n in (3, 4, 5)])
    assert [outputs(answer)["total"].shape for answer in answers] == [()] * 3
    assert [float(outputs(answer)["total"]) for answer in answers] == [3, 6, 10]


@each_encoding
async def test_scalar_strings_come_out(load: Load, call: MakeCall) -> None:
    """A scalar of bytes, which TensorFlow does not give as an array, is one all the same."""
    servable = await load("joined")
    [answer] = await ask(servable, [call({"text": np.array([b"a", b"b"], object)})])
    assert outputs(answer)["joined"].shape == ()
    assert outputs(answer)["joined"].item() == b"ab"


@each_encoding
async def test_requests_for_other_rows_than_promised_do_not_mix(load: Load, call: MakeCall) -> None:
    """A graph that gives other rows than its signature promises still answers each request."""
    servable = await load("positives")
    answers = await ask(servable, [call(floats(1, -1)), call(floats(-2, 2)), call(floats(-3))])
    assert [outputs(answer)["y"].tolist() for answer in answers] == [[1], [2], []]


@each_encoding
async def test_the_graph_decides_on_shapes(load: Load, call: MakeCall) -> None:
    """A shape that the signature does not declare is answered when the graph can take it."""
    servable = await load("half_plus_two")
    wide = {"x": np.ones((2, 3), np.float32)}
    before, other, after = await ask(servable, [call(column(1)), call(wide), call(column(2))])
    np.testing.assert_array_equal(outputs(other)["y"], wide["x"] * 0.5 + 2)
    assert outputs(before)["y"] == [[2.5]]
    assert outputs(after)["y"] == [[3.0]]


@pytest.mark.parametrize("max_rows", [1, 7, 1024])
async def test_batched_is_as_alone(load: Load, max_rows: int) -> None:
    """Requests of many sizes in both encodings, joined or not, give what each alone gives."""
    servable = await load("half_plus_two", Batching(max_rows=max_rows))
    inputs = [column(*range(n)) for n in (1, 3, 0, 9, 2)] * 20
    calls = [(avro, proto)[n % 2](x) for n, x in enumerate(inputs)]
    for x, answer in zip(inputs, await ask(servable, calls), strict=True):
        np.testing.assert_array_equal(outputs(answer)["y"], x["x"] * 0.5 + 2)


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], Code, str]] = {
    "dtype": (
        {"x": np.array([[1]], np.int64)},
        {},
        Code.INVALID_ARGUMENT,
        "input 'x' expects float32 but int64 is provided",
    ),
    "string": (
        {"x": np.array([b"a"], object)},
        {},
        Code.INVALID_ARGUMENT,
        "input 'x' expects float32 but string is provided",
    ),
    "missing": ({}, {}, Code.INVALID_ARGUMENT, "missing: x"),
    "extra": (
        {**column(1), "z": np.zeros(1)},
        {},
        Code.INVALID_ARGUMENT,
        "unexpected: z",
    ),
    "signature": (
        column(1),
        {"signature": "nope"},
        Code.FAILED_PRECONDITION,
        '"nope" not found in signature def',
    ),
    "filter": (
        column(1),
        {"output_filter": ["nope"]},
        Code.INVALID_ARGUMENT,
        "output tensor alias not found in signature: nope",
    ),
    "twice": (
        column(1),
        {"output_filter": ["y", "y"]},
        Code.INVALID_ARGUMENT,
        "duplicate output tensor alias: y",
    ),
}


@each_encoding
@pytest.mark.parametrize("case", BAD)
async def test_bad_input_fails_alone_and_in_words(load: Load, call: MakeCall, case: str) -> None:
    """What does not fit the signature is refused with the reason; its neighbours are answered."""
    servable = await load("half_plus_two")
    inputs, options, code, words = BAD[case]
    before, bad, after = await ask(
        servable, [call(column(1)), call(inputs, **options), call(column(2))]
    )
    assert (bad.code, bad.is_unreadable) == (code, False)
    assert words in bad.message
    assert "Traceback" not in bad.message
    assert outputs(before)["y"] == [[2.5]]
    assert outputs(after)["y"] == [[3.0]]


@pytest.mark.parametrize("encoding", [Encoding.AVRO, Encoding.TENSORFLOW_SERVING])
async def test_garbage_is_unreadable(load: Load, encoding: Encoding) -> None:
    """Bytes that are no request are marked, so that a door can put them aside."""
    servable = await load("half_plus_two")
    garbage = one(encoding, b"\xff garbage")
    bad, good = await ask(servable, [garbage, avro(column(1))])
    assert bad.code is Code.INVALID_ARGUMENT
    assert bad.is_unreadable
    assert outputs(good)["y"] == [[2.5]]


async def test_a_raising_model_fails_only_the_culprit(load: Load) -> None:
    """What the model raises is the answer, in the model's words, of the one request only."""
    servable = await load("picky")
    first, culprit, last = await ask(servable, [avro(floats(v)) for v in (1.0, 100.0, 3.0)])
    assert culprit.code is Code.INVALID_ARGUMENT
    assert "x is too large" in culprit.message
    assert "\n" not in culprit.message
    assert outputs(first)["y"] == [1.0]
    assert outputs(last)["y"] == [3.0]


async def test_an_endless_graph_ends_at_the_deadline(load: Load) -> None:
    """The deadline ends the run; the worker lives and answers the next request."""
    servable = await load("sleepy")
    pid = servable.pid
    [answer] = await ask(servable, [avro({"seconds": np.full(1, 1e9, np.float32)}, seconds=0.3)])
    assert answer.code is Code.DEADLINE_EXCEEDED
    [answer] = await ask(servable, [avro({"seconds": np.full(1, 0.0, np.float32)})])
    assert answer.code is Code.OK
    assert servable.pid == pid


async def test_expired_calls_do_not_run(load: Load) -> None:
    """A call whose deadline has passed is answered without the model."""
    servable = await load("brittle")
    pid = servable.pid
    [answer] = await ask(servable, [avro(floats(13.0), seconds=-1)])
    assert answer.code is Code.DEADLINE_EXCEEDED
    assert servable.pid == pid


async def test_calls_expire_while_the_worker_is_busy(load: Load) -> None:
    """A queued call is answered at its own deadline and not when the worker gets to it."""
    servable = await load("sleepy")
    slow = asyncio.create_task(
        ask(servable, [avro({"seconds": np.full(1, 20.0, np.float32)}, seconds=3)])
    )
    await asyncio.sleep(0)  # The task has run up to its wait.
    quick = avro({"seconds": np.zeros(1, np.float32)}, seconds=0.2)
    [answer] = await ask(servable, [quick])
    assert answer.code is Code.DEADLINE_EXCEEDED
    assert not slow.done()
    [answer] = await slow
    assert answer.code is Code.DEADLINE_EXCEEDED


async def test_cancelled_calls_leave_the_queue(load: Load) -> None:
    """A cancelled infer drops its queued calls: one that would abort the process never runs."""
    servable = await load("brittle")
    pid = servable.pid
    blocker = asyncio.create_task(ask(servable, [avro(floats(1.0))]))
    doomed = asyncio.create_task(ask(servable, [avro(floats(13.0))]))
    await asyncio.sleep(0)  # Both tasks have run up to their wait.
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    [answer] = await blocker
    assert answer.code is Code.OK
    [answer] = await ask(servable, [avro(floats(2.0))])
    assert answer.code is Code.OK
    assert servable.pid == pid


async def test_large_tensors_pass(load: Load) -> None:
    """A few megabytes go through the stream and back whole."""
    servable = await load("half_plus_two")
    x = np.arange(2_000_000, dtype=np.float32).reshape(-1, 1)
    first, second = await ask(servable, [avro({"x": x}), proto({"x": x})])
    np.testing.assert_array_equal(outputs(first)["y"], x * 0.5 + 2)
    np.testing.assert_array_equal(outputs(second)["y"], x * 0.5 + 2)


async def test_many_callers_at_once(load: Load) -> None:
    """A few hundred callers each get their own answer."""
    servable = await load("half_plus_two")

    async def compute(value: float) -> None:
        [answer] = await ask(servable, [avro(column(value))])
        assert outputs(answer)["y"] == [[value * 0.5 + 2]]

    async with asyncio.TaskGroup() as tasks:
        for value in range(400):
            tasks.create_task(compute(float(value)))


async def test_rebatching_takes_effect(load: Load) -> None:
    """After `rebatch`, requests are no longer joined, and answers stay right."""
    servable = await load("half_plus_two")
    servable.rebatch(Batching(max_rows=1, timeout_micros=1000))
    answers = await ask(servable, [avro(column(float(n))) for n in range(10)])
    assert [float(outputs(a)["y"][0, 0]) for a in answers] == [n * 0.5 + 2 for n in range(10)]
