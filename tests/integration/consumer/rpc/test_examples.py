"""Classify, Regress and MultiInference: TensorFlow Serving's stubs, the door, real models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from grpc import aio

from headrace.consumer.workers.loader import WorkerLoader
from headrace.protos import tensorflow_pb2
from headrace.protos import tensorflow_serving_pb2 as ours
from headrace.schemas.records import Batching
from tests.integration.consumer.rpc.official import (
    ClassificationRequest,
    Example,
    Input,
    ModelSpec,
    MultiInferenceRequest,
    PredictionStub,
    RegressionRequest,
    prediction_stub,
)
from tests.integration.consumer.rpc.rig import Rig, ready_rig, refusal
from tests.integration.consumer.workers.rig import publish
from tests.models import model

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


class Site(NamedTuple):
    """An open door with real models behind it, and a client."""

    rig: Rig
    stub: PredictionStub
    channel: aio.Channel


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(loader: WorkerLoader, store: Path) -> AsyncGenerator[Site]:
    """`half_plus_two_zoo` at version 2, `judge` at 1 and 3."""
    rig = ready_rig()
    for name, version in (("half_plus_two_zoo", 2), ("judge", 1), ("judge", 3)):
        planned = publish(model(name), store, version=version)
        rig.put(planned, await loader.load(planned, Batching(), yields_cpu=False))
    async with rig.open() as channel:
        yield Site(rig, prediction_stub(channel), channel)


def example(**features: float | bytes) -> tensorflow_pb2.Example:
    """Return an example of single values, in TensorFlow's own message."""
    made = Example()
    for name, value in features.items():
        if isinstance(value, bytes):
            made.features.feature[name].bytes_list.value.append(value)
        else:
            made.features.feature[name].float_list.value.append(value)
    return made


def listed(*values: float) -> ours.Input:
    """Return an example with each x."""
    made = Input()
    made.example_list.examples.extend(example(x=value) for value in values)
    return made


def spec(model: str = "judge", signature: str = "", **choice: Any) -> ours.ModelSpec:  # noqa: ANN401 - version or label
    """Return a model spec."""
    return ModelSpec(name=model, signature_name=signature, **choice)


def classes(result: ours.ClassificationResult) -> list[list[tuple[str, float]]]:
    """Return labels and scores by example."""
    return [
        [(each.label, each.score) for each in classifications.classes]
        for classifications in result.classifications
    ]


def values(result: ours.RegressionResult) -> list[float]:
    """Return the numbers."""
    return [regression.value for regression in result.regressions]


async def provenance(call: aio.Call) -> str:
    """Return what an answer says of its origin."""
    return str((await call.trailing_metadata())["headrace-provenance"])


async def test_classifies_each_example_in_order(site: Site) -> None:
    """Labels and scores of a TF2 model, and where they come from."""
    made = Input()
    made.example_list.examples.extend(
        [example(x=0.25, name=b"a"), example(x=0.75, name="ü".encode())]
    )
    call = site.stub.Classify(ClassificationRequest(model_spec=spec(), input=made))
    response = await call
    assert classes(response.result) == [
        [("a-low", 0.75), ("a-high", 0.25)],
        [("ü-low", 0.25), ("ü-high", 0.75)],
    ]
    assert response.model_spec == spec(signature="serving_default", version={"value": 3})
    assert "model=judge version=3" in await provenance(call)


async def test_regresses_each_example_in_order(site: Site) -> None:
    """The numbers of a TF2 model, of the version that was asked."""
    asked = spec(signature="regress", version={"value": 1})
    response = await site.stub.Regress(
        RegressionRequest(model_spec=asked, input=listed(3.5, -1.0, 0.0))
    )
    assert values(response.result) == [3.5, -1.0, 0.0]
    assert response.model_spec == asked


async def test_serves_the_signatures_of_a_tf1_model(site: Site) -> None:
    """TensorFlow Serving's own test model: classify gives scores without labels."""
    zoo, one = "half_plus_two_zoo", listed(2.0, 5.0)
    scored = await site.stub.Classify(
        ClassificationRequest(model_spec=spec(zoo, "classify_x_to_y"), input=one)
    )
    assert classes(scored.result) == [[("", 3.0)], [("", 4.5)]]
    for signature, expected in {
        "regress_x_to_y": [3.0, 4.5],
        "regress_x_to_y2": [4.0, 5.5],
    }.items():
        response = await site.stub.Regress(
            RegressionRequest(model_spec=spec(zoo, signature), input=one)
        )
        assert values(response.result) == expected


async def test_gives_what_a_model_has_of_labels_and_scores(site: Site) -> None:
    """Either may be absent, and is then empty."""
    one = listed(0.25)
    scored = await site.stub.Classify(
        ClassificationRequest(model_spec=spec(signature="scores"), input=one)
    )
    labelled = await site.stub.Classify(
        ClassificationRequest(model_spec=spec(signature="labels"), input=one)
    )
    assert classes(scored.result) == [[("", 0.75), ("", 0.25)]]
    assert classes(labelled.result) == [[("-low", 0.0), ("-high", 0.0)]]


async def test_context_is_part_of_every_example(site: Site) -> None:
    """Features that all examples share are sent once; an example's own come later."""
    made = Input()
    made.example_list_with_context.context.CopyFrom(example(w=10.0))
    made.example_list_with_context.examples.extend([example(x=1.0), example(x=2.0, w=3.0)])
    response = await site.stub.Regress(
        RegressionRequest(model_spec=spec(signature="regress"), input=made)
    )
    assert values(response.result) == [10.0, 6.0]


async def test_a_bad_example_fails_its_own_call_only(site: Site) -> None:
    """Calls share runs, and no call pays for another."""

    async def regress(made: ours.Input) -> list[float]:
        request = RegressionRequest(model_spec=spec(signature="regress"), input=made)
        return values((await site.stub.Regress(request)).result)

    bad = Input()
    bad.example_list.examples.append(example(y=1.0))
    async with asyncio.TaskGroup() as group:
        good = [group.create_task(regress(listed(float(n)))) for n in range(20)]
        failing = group.create_task(refusal(regress(bad)))
    assert [task.result() for task in good] == [[float(n)] for n in range(20)]
    error = failing.result()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "x" in (error.details() or "")


EMPTY = Input()
EMPTY.example_list.SetInParent()
ONLY_CONTEXT = Input()
ONLY_CONTEXT.example_list_with_context.context.CopyFrom(example(x=1.0))


@pytest.mark.parametrize("made", [None, Input(), EMPTY, ONLY_CONTEXT])
@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
async def test_no_example_is_an_invalid_argument(
    site: Site, method: str, made: ours.Input | None
) -> None:
    """No input, an empty list, and a context alone are all empty."""
    if method == "MultiInference":
        task = ours.InferenceTask(method_name=REGRESS)
        task.model_spec.ParseFromString(spec(signature="regress").SerializeToString())
        many = MultiInferenceRequest.FromString(
            ours.MultiInferenceRequest(tasks=[task]).SerializeToString()
        )
        if made is not None:
            many.input.CopyFrom(made)
        error = await refusal(site.stub.MultiInference(many))
    elif method == "Classify":
        request = ClassificationRequest(model_spec=spec(), input=made)
        error = await refusal(site.stub.Classify(request))
    else:
        asked = RegressionRequest(model_spec=spec(signature="regress"), input=made)
        error = await refusal(site.stub.Regress(asked))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Input is empty" in (error.details() or "")


MISFITS: Mapping[tuple[str, str], str] = {
    ("Classify", "nope"): "No signature was found with the name: nope",
    ("Regress", "nope"): "No signature was found with the name: nope",
    ("Classify", "regress"): "contain at least one of",
    ("Classify", "wordy"): "contain at least one of",
    ("Classify", "threefold"): "Expected one or two output Tensors, found 3",
    ("Regress", "serving_default"): "Expected one output Tensor",
    ("Classify", "flat_scores"): "[batch_size num_classes] but got [2]",
    ("Classify", "double_scores"): "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ("Classify", "number_classes"): "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
    ("Classify", "fewer_scores"): "Expected scores output batch size of 2. Got: 1",
    ("Classify", "uneven"): "should match in dim_size(1). Got 2 vs. 1",
    ("Regress", "wide_regress"): "[batch_size] or [batch_size, 1] but got [2, 2]",
    ("Regress", "fewer_regress"): "did not match output batch size: 2 vs. 1",
    ("Regress", "double_regress"): "Expected output Tensor of DT_FLOAT. Got: DT_DOUBLE",
}


@pytest.mark.parametrize(("case", "words"), MISFITS.items(), ids=map("-".join, MISFITS))
async def test_signature_or_output_out_of_form_is_an_invalid_argument(
    site: Site, case: tuple[str, str], words: str
) -> None:
    """Codes and gist are TensorFlow Serving's."""
    method, signature = case
    asked, made = spec(signature=signature), listed(1.0, 2.0)
    if method == "Classify":
        request = ClassificationRequest(model_spec=asked, input=made)
        error = await refusal(site.stub.Classify(request))
    else:
        error = await refusal(site.stub.Regress(RegressionRequest(model_spec=asked, input=made)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in (error.details() or "")


async def test_signature_that_takes_no_examples_is_an_invalid_argument(site: Site) -> None:
    """One is fed a float, another names its input otherwise."""
    for signature, words in {
        "regress_x2_to_y3": "expects float32 but string is provided",
        "serving_default": 'Expected one input Tensor, "inputs"',
    }.items():
        asked = spec("half_plus_two_zoo", signature)
        error = await refusal(
            site.stub.Regress(RegressionRequest(model_spec=asked, input=listed(1.0)))
        )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in (error.details() or "")


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
@pytest.mark.parametrize("garbage", [b"\x0a", b"\xff" * 40, b"\x0a\x07\x0a\x05judge\x12\x01\xff"])
async def test_bytes_that_are_no_request_are_an_invalid_argument(
    site: Site, method: str, garbage: bytes
) -> None:
    """Garbage is refused by whoever first notices, the door or the worker."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = site.channel.unary_unary(
        f"/tensorflow.serving.PredictionService/{method}"
    )
    error = await refusal(call(garbage))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (None, grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (spec(""), grpc.StatusCode.INVALID_ARGUMENT, "no name specified"),
        (spec("none"), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(none)"),
        (
            spec(version={"value": 9}),
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(judge, 9)",
        ),
        (
            spec(version_label="new"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label",
        ),
    ],
)
async def test_request_without_a_version_to_go_to_is_refused_as_in_predict(
    site: Site, asked: ours.ModelSpec | None, code: grpc.StatusCode, words: str
) -> None:
    """All methods resolve a model spec alike."""
    made = listed(1.0)
    for call in (
        site.stub.Classify(ClassificationRequest(model_spec=asked, input=made)),
        site.stub.Regress(RegressionRequest(model_spec=asked, input=made)),
    ):
        error = await refusal(call)
        assert error.code() is code
        assert words in (error.details() or "")


def tasks(made: ours.Input | None, *each: tuple[ours.ModelSpec, str]) -> ours.MultiInferenceRequest:
    """Return a request with these tasks."""
    request = MultiInferenceRequest(input=made)
    for asked, method in each:
        request.tasks.add(model_spec=asked, method_name=method)
    return request


async def test_multi_inference_answers_all_tasks_in_their_order(site: Site) -> None:
    """Every task gets the same input, and the version that the first one names."""
    call = site.stub.MultiInference(
        tasks(
            listed(0.25, 0.5),
            (spec(signature="regress", version={"value": 1}), REGRESS),
            (spec(version={"value": 3}), CLASSIFY),
            (spec(signature="scores"), CLASSIFY),
        )
    )
    response = await call
    numbers, both, scored = response.results
    assert values(numbers.regression_result) == [0.25, 0.5]
    assert classes(both.classification_result)[0] == [("-low", 0.75), ("-high", 0.25)]
    assert classes(scored.classification_result)[1] == [("", 0.5), ("", 0.5)]
    assert [each.model_spec for each in response.results] == [
        spec(signature=name, version={"value": 1})
        for name in ("regress", "serving_default", "scores")
    ]
    assert "model=judge version=1" in await provenance(call)


async def test_multi_inference_serves_a_tf1_model(site: Site) -> None:
    """As TensorFlow Serving's own test does it."""
    zoo = "half_plus_two_zoo"
    response = await site.stub.MultiInference(
        tasks(
            listed(2.0),
            (spec(zoo, "regress_x_to_y"), REGRESS),
            (spec(zoo, "classify_x_to_y"), CLASSIFY),
        )
    )
    numbers, scored = response.results
    assert values(numbers.regression_result) == [3.0]
    assert classes(scored.classification_result) == [[("", 3.0)]]


def fake_tasks() -> ours.MultiInferenceRequest:
    """Return a request with the one task that the model of the fake servable can have."""
    return tasks(listed(1.0), (spec("half_plus_two"), REGRESS))


async def test_multi_inference_that_finds_the_queue_full_is_resource_exhausted() -> None:
    """An error of one of several tasks keeps its code."""
    rig = ready_rig()
    rig.serve("half_plus_two", 3, max_inside=0)
    async with rig.open() as channel:
        error = await refusal(prediction_stub(channel).MultiInference(fake_tasks()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_cancelled_multi_inference_is_dropped_from_the_queue() -> None:
    """A client that goes away gives its place and its loan back."""
    rig = ready_rig()
    servable = rig.serve("half_plus_two", 3)
    servable.hold()
    async with rig.open() as channel:
        call = prediction_stub(channel).MultiInference(fake_tasks())
        await asyncio.wait_for(servable.wait_inside(1), 10)
        call.cancel()
        await asyncio.wait_for(servable.wait_inside(0), 10)
        await asyncio.wait_for(rig.serving("half_plus_two", 3).wait_idle(), 10)
    assert servable.cancelled == 1


INVALID = grpc.StatusCode.INVALID_ARGUMENT
ONE = (spec(signature="regress"), REGRESS)
UNDOABLE: Mapping[str, tuple[ours.MultiInferenceRequest, grpc.StatusCode, str]] = {
    "no tasks": (tasks(listed(1.0)), INVALID, "has no tasks"),
    "no name first": (tasks(listed(1.0), (spec(""), REGRESS)), INVALID, "no name specified"),
    "no name later": (tasks(listed(1.0), ONE, (spec(""), CLASSIFY)), INVALID, "empty model name"),
    "unknown model": (
        tasks(listed(1.0), (spec("none"), "nonsense")),
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(none)",
    ),
    "two models": (
        tasks(listed(1.0), ONE, (spec("half_plus_two_zoo"), CLASSIFY)),
        INVALID,
        "must access the same model name",
    ),
    "one signature twice": (
        tasks(listed(1.0), (spec(), CLASSIFY), (spec(signature="serving_default"), CLASSIFY)),
        INVALID,
        "Duplicate evaluation of signature: serving_default",
    ),
    "unknown signature": (
        tasks(listed(1.0), ONE, (spec(signature="nope"), CLASSIFY)),
        INVALID,
        "Requested signature not found in model graph: nope",
    ),
    "another method": (
        tasks(listed(1.0), ONE, (spec(), "tensorflow/serving/predict")),
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "no method": (
        tasks(listed(1.0), (spec(), "")),
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: none",
    ),
    "wrong method": (
        tasks(listed(1.0), ONE, (spec(), REGRESS)),
        INVALID,
        "Expected one output Tensor",
    ),
}


@pytest.mark.parametrize("case", UNDOABLE)
async def test_multi_inference_refuses_tasks_that_cannot_be_done_together(
    site: Site, case: str
) -> None:
    """One answer says what is wrong; nothing is answered in part."""
    request, code, words = UNDOABLE[case]
    error = await refusal(site.stub.MultiInference(request))
    assert error.code() is code
    assert words in (error.details() or "")
