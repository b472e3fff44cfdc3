"""GetModelStatus, called by TensorFlow Serving's own client stubs."""

from __future__ import annotations

import grpc
import pytest
from grpc import aio

from headrace.protos import tensorflow_serving_pb2 as ours
from headrace.schemas.records import ServableState, ServableStatus
from tests.integration.consumer.rpc.official import (
    GetModelStatusRequest,
    ModelSpec,
    ModelStub,
    model_stub,
)
from tests.integration.consumer.rpc.rig import Rig, refusal

STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
OK, UNKNOWN = 0, 2


@pytest.fixture
def stub(channel: aio.Channel) -> ModelStub:
    """TensorFlow Serving's client."""
    return model_stub(channel)


def record(rig: Rig, version: int, state: ServableState, error: str | None = None) -> None:
    """Let a version of the model `m` reach a state."""
    rig.monitor.record(
        ServableStatus(model="m", version=version, state=state, control_offset=1, error=error)
    )


@pytest.mark.parametrize("state", ServableState)
async def test_state_has_its_public_number(rig: Rig, stub: ModelStub, state: ServableState) -> None:
    """The numbers are TensorFlow Serving's, and a version that is well has status OK."""
    record(rig, 7, state)
    response = await stub.GetModelStatus(GetModelStatusRequest(model_spec=ModelSpec(name="m")))
    (status,) = response.model_version_status
    assert (status.version, status.state) == (7, STATES[state.value])
    assert status.HasField("status")
    assert (status.status.error_code, status.status.error_message) == (OK, "")


async def test_lists_every_version_highest_first(rig: Rig, stub: ModelStub) -> None:
    """Versions that ended are listed, too; a label is ignored."""
    record(rig, 2, ServableState.AVAILABLE)
    record(rig, 10, ServableState.LOADING)
    record(rig, 1, ServableState.END)
    spec = ModelSpec(name="m", version_label="stable")
    response = await stub.GetModelStatus(GetModelStatusRequest(model_spec=spec))
    assert [status.version for status in response.model_version_status] == [10, 2, 1]


async def test_version_that_failed_says_why(rig: Rig, stub: ModelStub) -> None:
    """The error belongs to the end; a load that will be tried again has not failed yet."""
    record(rig, 2, ServableState.END, "the artefact is corrupt")
    record(rig, 3, ServableState.LOADING, "the store does not answer")
    response = await stub.GetModelStatus(GetModelStatusRequest(model_spec=ModelSpec(name="m")))
    outcomes = [status.status for status in response.model_version_status]
    assert [(outcome.error_code, outcome.error_message) for outcome in outcomes] == [
        (OK, ""),
        (UNKNOWN, "the artefact is corrupt"),
    ]


async def test_version_asked_for_is_the_only_one_listed(rig: Rig, stub: ModelStub) -> None:
    """A model spec with a version asks for that version."""
    record(rig, 2, ServableState.AVAILABLE)
    record(rig, 3, ServableState.AVAILABLE)
    spec = ModelSpec(name="m", version={"value": 2})
    response = await stub.GetModelStatus(GetModelStatusRequest(model_spec=spec))
    assert [status.version for status in response.model_version_status] == [2]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (GetModelStatusRequest(), grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            GetModelStatusRequest(model_spec=ModelSpec(name="none")),
            grpc.StatusCode.NOT_FOUND,
            "Could not find any versions of model none",
        ),
        (
            GetModelStatusRequest(model_spec=ModelSpec(name="m", version={"value": 9})),
            grpc.StatusCode.NOT_FOUND,
            "Could not find version 9 of model m",
        ),
    ],
)
async def test_model_that_this_node_never_met_is_not_found(
    rig: Rig,
    stub: ModelStub,
    request_: ours.GetModelStatusRequest,
    code: grpc.StatusCode,
    message: str,
) -> None:
    """Codes and texts are TensorFlow Serving's."""
    record(rig, 2, ServableState.AVAILABLE)
    error = await refusal(stub.GetModelStatus(request_))
    assert (error.code(), error.details()) == (code, message)


async def test_answers_before_the_node_is_ready() -> None:
    """Whoever waits for a node wants to know what it is busy with."""
    rig = Rig()
    record(rig, 2, ServableState.LOADING)
    async with rig.open() as channel:
        request = GetModelStatusRequest(model_spec=ModelSpec(name="m"))
        response = await model_stub(channel).GetModelStatus(request)
    assert response.model_version_status[0].state == STATES["LOADING"]
