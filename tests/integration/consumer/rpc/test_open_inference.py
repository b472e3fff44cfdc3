"""ModelInfer, called by Triton's own clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest
from grpc import aio

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.readiness import Phase
from tests.fakes.servable import FakeServable
from tests.integration.consumer.rpc.rig import Rig, refusal
from tests.integration.consumer.rpc.triton import (
    Client,
    aio_client,
    error_of,
    floats,
    inputs_of,
    messages,
    packed,
    stub,
    sync_client,
)


@pytest.fixture
async def triton(rig: Rig) -> AsyncGenerator[Client, None]:
    """Triton's asyncio client."""
    async with aio_client(rig) as client:
        yield client


@pytest.fixture
async def loading(rig: Rig, triton: Client) -> Client:
    """Triton's client of a node where version 5 is coming."""
    rig.serving_map.model("half_plus_two").coming = frozenset({5})
    return triton


def servable_of(rig: Rig, version: int = 3) -> FakeServable:
    """Return the servable behind half_plus_two."""
    servable = rig.serving("half_plus_two", version).servable
    assert isinstance(servable, FakeServable)
    return servable


async def test_answers_with_what_the_version_computes(rig: Rig, triton: Client) -> None:
    """The answer has the id of the request, and the version that an empty one stood for."""
    rig.serve("half_plus_two", 4)
    answer = await triton.infer("half_plus_two", floats(1, 2, 5), request_id="request-1")
    assert answer.as_numpy("y").tolist() == [2.5, 3.0, 4.5]
    response = answer.get_response()
    assert (response.model_name, response.model_version) == ("half_plus_two", "4")
    assert response.id == "request-1"


def infer_with_the_blocking_client(port: int) -> list[float]:
    """Ask once, with the client that most programs use."""
    with sync_client(f"127.0.0.1:{port}") as client:
        answer = client.infer("half_plus_two", floats(4), request_id="r")
        assert client.is_server_live()
        return list(answer.as_numpy("y"))


async def test_blocking_client_is_answered(rig: Rig) -> None:
    """It has options of its own: keepalive, and messages of any size."""
    async with rig.door() as door:
        assert await asyncio.to_thread(infer_with_the_blocking_client, door.port) == [4.0]


@pytest.mark.parametrize(("named", "version"), [("", "4"), ("3", "3"), ("stable", "3")])
async def test_routes_by_version_in_digits_then_label(
    rig: Rig, triton: Client, named: str, version: str
) -> None:
    """Text that is no number is a label; the answer says which version that was."""
    rig.serve("half_plus_two", 4)
    rig.serving_map.model("half_plus_two").labels = {"stable": 3}
    answer = await triton.infer("half_plus_two", floats(1), model_version=named)
    assert answer.get_response().model_version == version


@pytest.mark.parametrize(
    ("model", "version", "code", "words"),
    [
        ("none", "", "NOT_FOUND", "Servable not found for request: Latest(none)"),
        ("half_plus_two", "9", "NOT_FOUND", "Specific(half_plus_two, 9)"),
        ("half_plus_two", "5", "UNAVAILABLE", "half_plus_two version 5 is still loading"),
        ("half_plus_two", "stabel", "INVALID_ARGUMENT", "Unrecognized servable version label"),
        ("half_plus_two", "0", "INVALID_ARGUMENT", "version '0' is no version"),
        ("", "", "INVALID_ARGUMENT", "the request names no model"),
    ],
)
async def test_request_without_a_version_to_go_to_is_refused(
    loading: Client, model: str, version: str, code: str, words: str
) -> None:
    """A version on its way is UNAVAILABLE, the one code that KServe's client tries again after."""
    found, message = await error_of(loading.infer(model, floats(1), model_version=version))
    assert found == code
    assert words in message


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_answer_with_a_code_becomes_that_status(rig: Rig, triton: Client, code: Code) -> None:
    """What the worker says of a request reaches the client, code and words."""
    servable_of(rig).answer_all(Fault(code, message="because of the test"))
    assert await error_of(triton.infer("half_plus_two", floats(1))) == (
        code.name,
        "because of the test",
    )


async def test_node_that_is_not_ready_is_unavailable() -> None:
    """Before the log is replayed nobody knows which models exist, so nothing is NOT_FOUND yet."""
    rig = Rig()
    rig.readiness.enter(Phase.LOADING)
    async with aio_client(rig) as triton:
        code, message = await error_of(triton.infer("none", floats(1)))
    assert (code, message) == ("UNAVAILABLE", "the node is not ready: it is loading")


async def test_bytes_that_are_no_request_are_an_invalid_argument(channel: aio.Channel) -> None:
    """Cut off within the head or within the tensors, and no request at all."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer"
    )
    request = packed(1, id="r", parameters={"timeout": {"int64_param": 10**9}}).SerializeToString()
    for garbage in (b"\xff" * 40, request[:18], request[:30], request[:-2]):
        error = await refusal(call(garbage))
        assert error.code().name == "INVALID_ARGUMENT", garbage


async def test_requests_that_differ_in_their_id_only_are_alike_to_the_worker(
    rig: Rig, triton: Client
) -> None:
    """Read together, they cost a fraction; each answer still has the id of its request."""
    servable = servable_of(rig)
    ids = ["", "a", "b" * 50, "ü"]
    answers = [await triton.infer("half_plus_two", floats(1), request_id=name) for name in ids]
    assert [answer.get_response().id for answer in answers] == ids
    assert servable.calls[0] == servable.calls[1] == servable.calls[2]


async def test_typed_request_gets_a_typed_answer(channel: aio.Channel) -> None:
    """A client that writes typed fields can read them; one that packs gets packed bytes."""
    request = messages.ModelInferRequest(model_name="half_plus_two")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
    tensor.contents.fp32_contents.extend([1, 2])
    response = await stub(channel).ModelInfer(request)
    assert list(response.outputs[0].contents.fp32_contents) == [2.5, 3.0]
    assert not response.raw_output_contents
    response = await stub(channel).ModelInfer(packed(1))
    assert response.raw_output_contents == [np.float32(2.5).tobytes()]


@pytest.mark.parametrize(("microseconds", "seconds"), [(None, 30), (5_000_000, 5), (10**12, 30)])
async def test_request_may_bound_its_own_time(
    rig: Rig, triton: Client, microseconds: int | None, seconds: float
) -> None:
    """The worker is told the nearest of the parameter `timeout`, the deadline and the default."""
    before = time.monotonic()
    await triton.infer("half_plus_two", floats(1), timeout=microseconds)
    after = time.monotonic()
    (deadline_seconds,) = servable_of(rig).deadlines_seconds
    assert before < deadline_seconds - seconds + 1 < after + 2


async def test_request_whose_time_is_over_is_dropped(rig: Rig, triton: Client) -> None:
    """Its code is DEADLINE_EXCEEDED, and it gives back its place and its loan."""
    servable = servable_of(rig)
    servable.hold()
    code, _ = await error_of(triton.infer("half_plus_two", floats(1), timeout=200_000))
    assert code == "DEADLINE_EXCEEDED"
    await asyncio.wait_for(servable.wait_inside(0), 10)
    await asyncio.wait_for(rig.serving("half_plus_two", 3).wait_idle(), 10)


async def test_client_deadline_ends_the_call(rig: Rig, triton: Client) -> None:
    """Triton's client calls it client_timeout, in seconds."""
    servable = servable_of(rig)
    servable.hold()
    code, _ = await error_of(triton.infer("half_plus_two", floats(1), client_timeout=0.2))
    assert code == "DEADLINE_EXCEEDED"
    await asyncio.wait_for(servable.wait_inside(0), 10)


@pytest.mark.parametrize("value", [{"int64_param": -1}, {"string_param": "1s"}])
async def test_timeout_that_is_none_is_refused(channel: aio.Channel, value: Any) -> None:  # noqa: ANN401
    """A mistaken unit or type must not mean that there is no bound."""
    error = await refusal(stub(channel).ModelInfer(packed(1, parameters={"timeout": value})))
    assert error.code().name == "INVALID_ARGUMENT"
    assert "timeout must be an int64_param of microseconds" in (error.details() or "")


async def test_parameters_of_tritons_scheduling_change_nothing(triton: Client) -> None:
    """Priorities and sequences are for models of another kind."""
    answer = await triton.infer(
        "half_plus_two", floats(1), priority=1, sequence_id=7, sequence_start=True
    )
    assert answer.as_numpy("y").tolist() == [2.5]


async def test_cancelled_call_is_dropped_from_the_queue(rig: Rig, triton: Client) -> None:
    """A client that goes away gives its place and its loan back."""
    servable = servable_of(rig)
    servable.hold()
    call = asyncio.ensure_future(triton.infer("half_plus_two", floats(1)))
    await asyncio.wait_for(servable.wait_inside(1), 10)
    call.cancel()
    await asyncio.wait_for(servable.wait_inside(0), 10)
    assert servable.cancelled == 1
    await asyncio.wait_for(rig.serving("half_plus_two", 3).wait_idle(), 10)


async def test_answer_says_where_it_comes_from(channel: aio.Channel) -> None:
    """As the answers to Predict do, in trailing metadata."""
    call = stub(channel).ModelInfer(packed(1))
    await call
    provenance = (await call.trailing_metadata())["headrace-provenance"]
    assert provenance.startswith("model=half_plus_two version=3 control-offset=103 ")


async def test_wrong_input_is_an_invalid_argument(triton: Client) -> None:
    """The worker's words reach the client."""
    wrong = inputs_of(z=np.zeros(1, np.float32))
    code, message = await error_of(triton.infer("half_plus_two", wrong))
    assert code == "INVALID_ARGUMENT"
    assert "expected x" in message
