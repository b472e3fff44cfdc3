"""Predict, called by TensorFlow Serving's own client stubs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from grpc import aio

from headrace.consumer.core import errors
from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import RequestError
from headrace.consumer.core.readiness import Phase
from headrace.protos import tensorflow_serving_pb2 as ours
from headrace.schemas.records import ModelConfig
from tests.fakes.half_plus_two import predict_request, predicted
from tests.fakes.servable import FakeServable
from tests.integration.consumer.rpc.official import (
    ModelSpec,
    PredictionStub,
    PredictRequest,
    prediction_stub,
)
from tests.integration.consumer.rpc.rig import OPTIONS, Rig, ready_rig, refusal


@pytest.fixture
def stub(channel: aio.Channel) -> PredictionStub:
    """TensorFlow Serving's client."""
    return prediction_stub(channel)


def request_of(
    model: str = "half_plus_two", values: npt.ArrayLike = (1.0, 2.0, 5.0)
) -> ours.PredictRequest:
    """Return TensorFlow Serving's own request message."""
    return PredictRequest.FromString(predict_request(model, values).SerializeToString())


def values_of(response: ours.PredictResponse) -> list[float]:
    """Return the outputs of TensorFlow Serving's own response message."""
    return np.ravel(predicted(response)).tolist()


def servable_of(rig: Rig, version: int = 3) -> FakeServable:
    """Return the servable behind half_plus_two."""
    servable = rig.serving("half_plus_two", version).servable
    assert isinstance(servable, FakeServable)
    return servable


async def test_answers_with_what_the_version_computes(rig: Rig, stub: PredictionStub) -> None:
    """The servable gets the request's bytes, and the client the answer's."""
    request = request_of()
    response = await stub.Predict(request)
    assert values_of(response) == [2.5, 3.0, 4.5]
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    (call,) = servable_of(rig).calls
    assert PredictRequest.FromString(call) == request


@pytest.mark.parametrize(
    ("spec", "version"),
    [({}, 4), ({"version": {"value": 3}}, 3), ({"version_label": "stable"}, 3)],
)
async def test_routes_by_version_then_label_then_highest(
    rig: Rig, stub: PredictionStub, spec: dict[str, Any], version: int
) -> None:
    """A model spec means what it means to TensorFlow Serving."""
    rig.serve("half_plus_two", 4)
    rig.serving_map.model("half_plus_two").labels = {"stable": 3}
    request = request_of()
    request.model_spec.MergeFrom(ModelSpec(**spec))
    response = await stub.Predict(request)
    assert response.model_spec.version.value == version


UNROUTABLE: list[tuple[dict[str, Any] | None, grpc.StatusCode, str]] = [
    (None, grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
    ({}, grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    (
        {"name": "none"},
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(none)",
    ),
    (
        {"name": "half_plus_two", "version": {"value": 9}},
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 9)",
    ),
    (
        {"name": "half_plus_two", "version": {"value": 5}},
        grpc.StatusCode.UNAVAILABLE,
        "half_plus_two version 5 is still loading",
    ),
    (
        {"name": "coming"},
        grpc.StatusCode.UNAVAILABLE,
        "coming is loading version 1 and serves none yet",
    ),
    (
        {"name": "half_plus_two", "version_label": "stabel"},
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "Unrecognized servable version label: 'stabel' of model half_plus_two; "
            "its labels are: next, stable"
        ),
    ),
    (
        {"name": "none", "version_label": "stable"},
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: 'stable' of model none; its labels are: none",
    ),
    (
        {"name": "half_plus_two", "version_label": "next"},
        grpc.StatusCode.UNAVAILABLE,
        "half_plus_two version 5 is still loading",
    ),
]


@pytest.mark.parametrize(("spec", "code", "message"), UNROUTABLE)
async def test_request_without_a_version_to_go_to_is_refused(
    rig: Rig, stub: PredictionStub, spec: dict[str, Any] | None, code: grpc.StatusCode, message: str
) -> None:
    """Codes and texts are TensorFlow Serving's; a version on its way is UNAVAILABLE."""
    routes = rig.serving_map.model("half_plus_two")
    routes.labels, routes.coming = {"stable": 3, "next": 5}, frozenset({5})
    rig.serving_map.model("coming").coming = frozenset({1})
    request = request_of()
    request.ClearField("model_spec")
    if spec is not None:
        request.model_spec.CopyFrom(ModelSpec(**spec))
    error = await refusal(stub.Predict(request))
    assert (error.code(), error.details()) == (code, message)


@pytest.mark.parametrize("garbage", [b"\x0a", b"\xff" * 40, b"\x0a\x0f\x0a\x0dhalf_plus_two\xff"])
async def test_bytes_that_are_no_request_are_an_invalid_argument(
    channel: aio.Channel, garbage: bytes
) -> None:
    """Garbage is refused by whoever first notices, the door or the worker."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict"
    )
    error = await refusal(call(garbage))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_answer_with_a_code_becomes_that_status(
    rig: Rig, stub: PredictionStub, code: Code
) -> None:
    """What the worker says of a request reaches the client, code and words."""
    servable_of(rig).answer_all(Fault(code, message="because of the test"))
    error = await refusal(stub.Predict(request_of()))
    assert (error.code().name, error.details()) == (code.name, "because of the test")


@pytest.mark.parametrize(
    "kind",
    [
        errors.InvalidRequest,
        errors.UnreadableRequest,
        errors.ServableNotFound,
        errors.ServableNotReady,
        errors.UnknownLabel,
        errors.UnknownSignature,
        errors.QueueFull,
        errors.DeadlineExceeded,
        errors.WorkerDied,
        errors.ModelFailed,
    ],
)
async def test_request_error_becomes_the_status_of_its_code(
    rig: Rig, stub: PredictionStub, kind: type[RequestError]
) -> None:
    """Every error that a caller can meet has one status."""
    servable_of(rig).raise_all(kind("because of the test"))
    error = await refusal(stub.Predict(request_of()))
    assert (error.code().name, error.details()) == (kind.code.name, "because of the test")


async def test_mistake_of_our_own_fails_one_call_without_a_traceback(
    rig: Rig, stub: PredictionStub
) -> None:
    """A client learns that the node failed, not how it is built; the next call is answered."""
    servable_of(rig).raise_all(RuntimeError("secret"))
    error = await refusal(stub.Predict(request_of()))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "the node failed: RuntimeError"
    rig.serve("half_plus_two", 3)
    rig.serving_map.note_change(0)
    assert values_of(await stub.Predict(request_of())) == [2.5, 3.0, 4.5]


async def test_long_message_arrives_cut(rig: Rig, stub: PredictionStub) -> None:
    """Uncut, the headers would be too large for the client, which would see another error."""
    servable_of(rig).answer_all(Fault(Code.INVALID_ARGUMENT, message="é" * 100_000))
    error = await refusal(stub.Predict(request_of()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "é" * 512 + "...TRUNCATED"


@pytest.mark.parametrize("phase", [Phase.REPLAYING, Phase.LOADING, Phase.DRAINING])
async def test_node_that_is_not_ready_is_unavailable(phase: Phase) -> None:
    """Before the log is replayed nobody knows which models exist, so nothing is NOT_FOUND yet."""
    rig = Rig()
    rig.readiness.enter(phase)
    async with rig.open() as channel:
        stub = prediction_stub(channel)
        error = await refusal(stub.Predict(request_of("none")))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == f"the node is not ready: it is {phase.name.lower()}"


async def test_full_queue_is_resource_exhausted_at_once(rig: Rig, stub: PredictionStub) -> None:
    """What is over the bound is refused, and what is inside is still answered."""
    servable = rig.serve("half_plus_two", 3, max_inside=1)
    servable.hold()
    inside = stub.Predict(request_of())
    await asyncio.wait_for(servable.wait_inside(1), 10)
    error = await refusal(stub.Predict(request_of()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await servable.release()
    assert values_of(await inside) == [2.5, 3.0, 4.5]


async def test_client_deadline_ends_the_call_and_drops_it(rig: Rig, stub: PredictionStub) -> None:
    """Nobody computes what nobody waits for, and the loan comes back."""
    servable = servable_of(rig)
    servable.hold()
    error = await refusal(stub.Predict(request_of(), timeout=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(servable.wait_inside(0), 10)
    await asyncio.wait_for(rig.serving("half_plus_two", 3).wait_idle(), 10)


async def test_default_deadline_ends_a_call_without_one() -> None:
    """A client that sets no deadline cannot hold a place for ever."""
    rig = ready_rig(replace(OPTIONS, default_timeout_seconds=0.2))
    rig.serve("half_plus_two", 3).hold()
    async with rig.open() as channel:
        stub = prediction_stub(channel)
        error = await refusal(stub.Predict(request_of()))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("client_seconds", "granted_seconds"), [(None, 30), (5, 5), (900, 30)])
async def test_call_gets_the_nearer_deadline(
    rig: Rig, stub: PredictionStub, client_seconds: float | None, granted_seconds: float
) -> None:
    """The worker is told the client's deadline, but never one beyond the default."""
    before = time.monotonic()
    await stub.Predict(request_of(), timeout=client_seconds)
    after = time.monotonic()
    (deadline_seconds,) = servable_of(rig).deadlines_seconds
    # On its way a timeout is rounded up a little.
    assert before < deadline_seconds - granted_seconds + 1 < after + 2


async def test_cancelled_call_is_dropped_from_the_queue(rig: Rig, stub: PredictionStub) -> None:
    """A client that goes away gives its place and its loan back."""
    servable = servable_of(rig)
    servable.hold()
    call = stub.Predict(request_of())
    await asyncio.wait_for(servable.wait_inside(1), 10)
    call.cancel()
    await asyncio.wait_for(servable.wait_inside(0), 10)
    assert servable.cancelled == 1
    await asyncio.wait_for(rig.serving("half_plus_two", 3).wait_idle(), 10)


async def test_many_calls_wait_at_once_and_each_gets_its_own_answer(
    rig: Rig, stub: PredictionStub
) -> None:
    """No call waits for another at the door."""
    servable = servable_of(rig)
    servable.hold()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(predict_one(stub, number)) for number in range(200)]
        await asyncio.wait_for(servable.wait_inside(200), 30)
        await servable.release()
    assert [call.result() for call in calls] == [[number / 2 + 2] for number in range(200)]


async def predict_one(stub: PredictionStub, number: int) -> list[float]:
    """Return the outputs for one number."""
    return values_of(await stub.Predict(request_of(values=[number])))


async def test_five_megabytes_pass_in_both_directions(stub: PredictionStub) -> None:
    """The library's own bound of 4 MiB does not apply; 64 MiB is the default."""
    values = np.arange(1_250_000, dtype=np.float32)
    response = await stub.Predict(request_of(values=values))
    assert response.ByteSize() > 5_000_000
    assert values_of(response)[-1] == 1_249_999 / 2 + 2


async def test_message_over_the_bound_is_resource_exhausted() -> None:
    """The bound holds before a servable sees the request."""
    rig = ready_rig(replace(OPTIONS, max_message_bytes=100_000))
    servable = rig.serve("half_plus_two", 3)
    async with rig.open() as channel:
        stub = prediction_stub(channel)
        error = await refusal(stub.Predict(request_of(values=np.zeros(50_000, np.float32))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert servable.calls == []
        assert values_of(await stub.Predict(request_of(values=[1.0]))) == [2.5]


async def test_affinity_keeps_a_caller_on_one_arm_of_a_split(
    rig: Rig, stub: PredictionStub
) -> None:
    """The same metadata value always meets the same version; different ones meet both."""
    rig.serve("half_plus_two", 4)
    rig.serving_map.model("half_plus_two").configure(
        ModelConfig(model="half_plus_two", split={"3": 50, "4": 50})
    )
    met: dict[str, set[int]] = {}
    for caller in [f"user-{number}" for number in range(20)] * 3:
        response = await stub.Predict(request_of(), metadata=(("affinity", caller),))
        met.setdefault(caller, set()).add(response.model_spec.version.value)
    assert {len(versions) for versions in met.values()} == {1}
    assert {version for versions in met.values() for version in versions} == {3, 4}


async def test_answers_and_refusals_of_a_version_say_where_they_come_from(
    rig: Rig, stub: PredictionStub
) -> None:
    """Trailing metadata names the version, the event that brought it, the artefact and the node."""
    expected = (
        "model=half_plus_two version=3 control-offset=103 "
        f"artifact-digest=sha256:{3:064x} node=node-1 plan-offset=-1 routed-by=latest"
    )
    call = stub.Predict(request_of())
    await call
    assert (await call.trailing_metadata())["headrace-provenance"] == expected
    servable_of(rig).answer_all(Fault(Code.INTERNAL, message="the model raised"))
    error = await refusal(stub.Predict(request_of()))
    trailing = error.trailing_metadata()
    assert trailing is not None
    assert trailing["headrace-provenance"] == expected


async def test_loan_comes_back_with_the_answer(rig: Rig, stub: PredictionStub) -> None:
    """Unloading a version never waits for calls that are over."""
    servable = servable_of(rig)
    servable.hold()
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(predict_one(stub, 1))
        await asyncio.wait_for(servable.wait_inside(1), 10)
        idle = tasks.create_task(rig.serving("half_plus_two", 3).wait_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        await servable.release()
        await asyncio.wait_for(call, 10)
    assert idle.done()
