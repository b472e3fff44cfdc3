"""Calls that ask as of a control record, by every method that asks a version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from headrace.consumer.core.readiness import Phase
from headrace.protos import open_inference_pb2 as open_inference
from headrace.schemas.records import ModelConfig
from tests.fakes.half_plus_two import predict_request
from tests.fakes.planned import plan
from tests.fakes.servable import FakeServable, planned_version
from tests.integration.consumer.rpc.official import (
    ClassificationRequest,
    GetModelMetadataRequest,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
    prediction_stub,
)
from tests.integration.consumer.rpc.rig import Rig, ready_rig, refusal
from tests.integration.consumer.rpc.triton import messages, packed, stub

MODEL = "half_plus_two"

Metadata = list[tuple[str, str]]
Call = Any
"""A call of a stub, some of which have no types."""
Ask = Callable[[aio.Channel, Metadata, float], Call]


def predict(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask TensorFlow Serving's Predict."""
    request = PredictRequest.FromString(predict_request(MODEL, (1.0,)).SerializeToString())
    return prediction_stub(channel).Predict(request, metadata=metadata, timeout=timeout)


def classify(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask Classify."""
    request = ClassificationRequest()
    request.model_spec.name = MODEL
    return prediction_stub(channel).Classify(request, metadata=metadata, timeout=timeout)


def regress(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask Regress."""
    request = RegressionRequest()
    request.model_spec.name = MODEL
    return prediction_stub(channel).Regress(request, metadata=metadata, timeout=timeout)


def multi_inference(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask MultiInference."""
    request = MultiInferenceRequest()
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name = MODEL
    return prediction_stub(channel).MultiInference(request, metadata=metadata, timeout=timeout)


def get_metadata(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask GetModelMetadata."""
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = MODEL
    return prediction_stub(channel).GetModelMetadata(request, metadata=metadata, timeout=timeout)


def infer(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask ModelInfer."""
    return stub(channel).ModelInfer(packed(1.0), metadata=metadata, timeout=timeout)


def model_metadata(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask ModelMetadata."""
    request = messages.ModelMetadataRequest(name=MODEL)
    return stub(channel).ModelMetadata(request, metadata=metadata, timeout=timeout)


def model_config(channel: aio.Channel, metadata: Metadata, timeout: float) -> Call:
    """Ask ModelConfig."""
    request = messages.ModelConfigRequest(name=MODEL)
    return stub(channel).ModelConfig(request, metadata=metadata, timeout=timeout)


METHODS = [
    predict,
    classify,
    regress,
    multi_inference,
    get_metadata,
    infer,
    model_metadata,
    model_config,
]


def version(number: int) -> FakeServable:
    """Return a version that the control record at 100 + its number brought."""
    return FakeServable(planned_version(MODEL, number, control_offset=100 + number))


@pytest.fixture
async def rig() -> Rig:
    """A node at control offset 103, which brought version 3."""
    rig = ready_rig()
    plan(rig.serving_map, 103, version(3))
    return rig


def at(offset: object) -> Metadata:
    """Return metadata that ask for a control record."""
    return [("min-control-offset", str(offset))]


async def origin(call: Call) -> dict[str, str]:
    """Return what a call says of where its answer comes from, whatever the answer is."""
    await asyncio.wait([asyncio.ensure_future(call.code())])
    told = (await call.trailing_metadata())["headrace-provenance"]
    return dict(pair.split("=", 1) for pair in told.split())


@pytest.mark.parametrize("ask", METHODS)
async def test_waits_for_the_record_and_the_version(
    rig: Rig, channel: aio.Channel, ask: Ask
) -> None:
    """It comes to the version that the record brought, though an older one could have answered."""
    call = ask(channel, at(104), 30)
    met = ask(channel, at(103), 30)
    assert (await origin(met))["version"] == "3"
    assert not call.done()
    plan(rig.serving_map, 104, version(4))
    told = await origin(call)
    assert (told["version"], told["plan-offset"]) == ("4", "104")


@pytest.mark.parametrize("ask", METHODS)
async def test_gives_up_before_the_callers_deadline(channel: aio.Channel, ask: Ask) -> None:
    """In time for the caller to hear why, rather than that time was up."""
    error = await refusal(ask(channel, at(104), 1.0))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "wants control offset 104 or later, and this node has come to 103" in (
        error.details() or ""
    )


@pytest.mark.parametrize("ask", METHODS)
@pytest.mark.parametrize("offset", ["-1", "soon", "", "9" * 30])
async def test_refuses_what_is_no_offset(channel: aio.Channel, ask: Ask, offset: str) -> None:
    """At once, and in words."""
    error = await refusal(ask(channel, at(offset), 30))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "min-control-offset is" in (error.details() or "")


async def test_a_node_that_is_not_ready_waits_for_nothing(rig: Rig, channel: aio.Channel) -> None:
    """It says so at once, as without the offset."""
    rig.readiness.enter(Phase.DRAINING)
    error = await refusal(predict(channel, at(104), 30))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the node is not ready: it is draining",
    )


async def test_a_node_that_stops_waits_no_longer(rig: Rig, channel: aio.Channel) -> None:
    """The call is free to go to another node at once."""
    call = predict(channel, at(104), 30)
    await predict(channel, [], 30)
    rig.readiness.enter(Phase.DRAINING)
    async with asyncio.timeout(10):
        error = await refusal(call)
    assert error.details() == "the node is not ready: it is draining"


async def test_readiness_of_a_model_as_of_a_record(rig: Rig, channel: aio.Channel) -> None:
    """Yes once it is in force, no when that takes too long."""
    ask, request = stub(channel).ModelReady, messages.ModelReadyRequest(name=MODEL)
    assert (await ask(request, metadata=at(103), timeout=30)).ready
    assert not (await ask(request, metadata=at(104), timeout=0.5)).ready
    asking = asyncio.ensure_future(ask(request, metadata=at(104), timeout=30))
    await ask(request, timeout=30)
    plan(rig.serving_map, 104, version(4))
    assert (await asking).ready


async def test_every_request_of_a_stream_waits(rig: Rig, channel: aio.Channel) -> None:
    """The metadata are the stream's, so they hold for each of its requests."""

    async def asked() -> AsyncIterator[open_inference.ModelInferRequest]:
        yield packed(1.0)
        yield packed(2.0)

    call = stub(channel).ModelStreamInfer(asked(), metadata=at(104), timeout=30)
    reading = asyncio.ensure_future(call.read())
    await predict(channel, [], 30)
    assert not reading.done()
    plan(rig.serving_map, 104, version(4))
    answers = [await reading, await call.read()]
    assert [answer.infer_response.model_version for answer in answers] == ["4", "4"]


async def test_affinity_and_record_go_together(rig: Rig, channel: aio.Channel) -> None:
    """Equal affinity comes to the arm that it comes to without an offset."""
    plan(rig.serving_map, 105, version(3), version(5))
    rig.serving_map.model(MODEL).configure(ModelConfig(model=MODEL, split={"3": 1, "5": 1}))
    seen: set[str] = set()
    for number in range(16):
        affinity = [("affinity", f"user-{number}")]
        told = [await origin(predict(channel, affinity + extra, 30)) for extra in ([], at(105))]
        assert told[0] == told[1]
        assert told[0]["routed-by"] == "split"
        seen.add(told[0]["arm"])
    assert seen == {"3", "5"}


async def test_a_call_that_is_given_up_holds_nothing(rig: Rig, channel: aio.Channel) -> None:
    """The node forgets it, and goes on."""
    call = predict(channel, at(104), 30)
    await predict(channel, [], 30)
    call.cancel()
    plan(rig.serving_map, 104, version(4))
    answer = await predict(channel, at(104), 30)
    assert answer.model_spec.version.value == 4
    async with asyncio.timeout(10):
        await rig.serving(MODEL, 4).wait_idle()
